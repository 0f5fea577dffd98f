"""Versions of how a bot answers: every change is one, and one is in use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import Max

from knowledge.choices import Fusion, VersionState
from knowledge.databases import alias
from knowledge.models import ModelConfigVersion
from knowledge.snapshot import AnswerSettings, forget
from mia.lib.errors import Conflict

CARRIED = (
    "provider",
    "model",
    "settings",
    "retrieval_k",
    "threshold",
    "fusion",
    "rerank",
    "refusal_text",
    "refusal_texts",
    "only_with_evidence",
)


def settings_of(config: ModelConfigVersion) -> AnswerSettings:
    return AnswerSettings(
        config_id=config.pk,
        passages=config.retrieval_k,
        threshold=config.threshold,
        fusion=Fusion(config.fusion),
        rerank=config.rerank,
        refusal_text=config.refusal_text,
        refusal_texts=dict(config.refusal_texts or {}),
        only_with_evidence=config.only_with_evidence,
    )


def active_config(*, business_id: int, bot_id: int) -> ModelConfigVersion | None:
    found: ModelConfigVersion | None = (
        ModelConfigVersion.objects.for_business(business_id).filter(bot_id=bot_id, state=VersionState.ACTIVE).first()
    )
    return found


def next_number(*, business_id: int, bot_id: int) -> int:
    versions = ModelConfigVersion.objects.for_business(business_id).filter(bot_id=bot_id)
    return int(versions.aggregate(last=Max("number"))["last"] or 0) + 1


def record_model_settings(
    *,
    business_id: int,
    bot_id: int,
    model: str,
    settings: Mapping[str, Any],
    changed_by: str,
    user_id: int | None,
    now: datetime,
) -> ModelConfigVersion:
    """A version with what the bot's form says of its model now, in use at once; how it retrieves stays as it was."""
    with transaction.atomic(using=alias()):
        before = active_config(business_id=business_id, bot_id=bot_id)
        kept = {name: getattr(before, name) for name in CARRIED} if before is not None else {}
        version = ModelConfigVersion(
            business_id=business_id,
            bot_id=bot_id,
            number=next_number(business_id=business_id, bot_id=bot_id),
            **{**kept, "model": model, "settings": dict(settings)},
            created_by_id=user_id,
            created_by_label=changed_by[:255],
            created_at=now,
            note="The bot's model settings were changed.",
        )
        version.save(force_insert=True)
        return activate(version, now=now)


def activate(version: ModelConfigVersion, *, now: datetime) -> ModelConfigVersion:
    """Puts a version in the place of the one before it; raises Conflict for one that has been replaced already."""
    with transaction.atomic(using=alias()):
        own = ModelConfigVersion.objects.for_business(version.business_id).filter(bot_id=version.bot_id)
        if own.filter(pk=version.pk, state=VersionState.DEPRECATED).exists():
            raise Conflict("This version was replaced; make a new one from it.")
        own.filter(state=VersionState.ACTIVE).exclude(pk=version.pk).update(state=VersionState.DEPRECATED)
        own.filter(pk=version.pk).update(state=VersionState.ACTIVE, activated_at=now)
    version.state, version.activated_at = VersionState.ACTIVE, now
    forget(version.business_id)
    return version


def copy_of(version: ModelConfigVersion, *, user_label: str, user_id: int | None, now: datetime) -> ModelConfigVersion:
    """A draft that begins where another version stands."""
    draft = ModelConfigVersion(
        business_id=version.business_id,
        bot_id=version.bot_id,
        number=next_number(business_id=version.business_id, bot_id=version.bot_id),
        **{name: getattr(version, name) for name in CARRIED},
        created_by_id=user_id,
        created_by_label=user_label[:255],
        created_at=now,
    )
    draft.save(force_insert=True)
    return draft
