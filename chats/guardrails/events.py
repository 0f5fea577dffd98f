"""Putting on record what was not let pass, without anybody's data."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from chats.choices import GuardAction, GuardKind
from chats.models import Conversation, GuardrailEvent
from mia.lib.personal_data import without_data

EXCERPT_CHARS: Final = 200


def record(
    *,
    business_id: int,
    conversation: Conversation | None,
    kind: GuardKind,
    action: GuardAction,
    words: str,
    now: datetime,
    rule: str = "",
    job_id: UUID | None = None,
) -> GuardrailEvent:
    """In the caller's transaction, without a conversation for a completion; the excerpt holds nobody's data."""
    names = [conversation.visitor_name, conversation.visitor_email] if conversation is not None else []
    event: GuardrailEvent = GuardrailEvent.objects.create(
        business_id=business_id,
        conversation=conversation,
        job_id=job_id,
        kind=kind,
        action=action,
        rule=rule,
        excerpt=excerpt_of(words, names=names),
        at=now,
    )
    return event


def excerpt_of(words: str, names: list[str]) -> str:
    """One line; what is hidden is named by its kind. Cut after it is hidden, so that no half of a number stays."""
    hidden = " ".join(without_data(words, names=names).split())
    return hidden if len(hidden) <= EXCERPT_CHARS else f"{hidden[: EXCERPT_CHARS - 1]}…"
