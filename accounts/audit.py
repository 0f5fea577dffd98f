"""Putting on record who changed what; read by staff, altered by nobody."""

from __future__ import annotations

from collections.abc import Mapping

from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from accounts.choices import AuditAction
from accounts.models import AuditEntry, Business, User
from accounts.principals import Principal, PrincipalKind
from mia.lib.logging import current_request_id

PLATFORM_LABEL = "MIA"
MAX_LABEL_CHARS = 255
MAX_VALUE_CHARS = 500
HIDDEN = "…"
SECRET_MARKS = ("password", "digest", "secret", "token")

Actor = User | Principal | None
"""Who does it; None is the platform itself: a command, a task, a schedule."""
Changes = Mapping[str, object]
"""What became of each field: a pair of the old and the new value, or one value where there was none before."""


def record_audit(
    *,
    actor: Actor,
    business: Business | int | None,
    action: AuditAction,
    target: models.Model,
    changes: Changes | None = None,
) -> AuditEntry:
    """Writes an entry inside the caller's transaction, whose scope must hold the business (or be the platform's)."""
    return AuditEntry.objects.create(
        business_id=business.pk if isinstance(business, Business) else business,
        action=action,
        target_type=target._meta.label_lower,
        target_id=str(target.pk or ""),
        target_label=clipped(str(getattr(target, "audit_label", target)), MAX_LABEL_CHARS),
        changes=readable(changes or {}),
        request_id=current_request_id()[:64],
        **_actor_fields(actor),
    )


def changes_of(instance: models.Model, before: Mapping[str, object], fields: list[str]) -> dict[str, object]:
    """Old and new value of each field that differs; of secrets only that they changed."""
    changes: dict[str, object] = {}
    for name in fields:
        old, new = before.get(name), getattr(instance, name, None)
        if old != new:
            changes[name] = [HIDDEN, HIDDEN] if is_secret(name) else [old, new]
    return changes


def is_secret(field_name: str) -> bool:
    return any(mark in field_name for mark in SECRET_MARKS)


def readable(value: object) -> object:
    """The value as JSON that a person can read: dates and rows as text, long texts clipped."""
    match value:
        case None | bool() | int() | float():
            return value
        case str():
            return clipped(value, MAX_VALUE_CHARS)
        case Mapping():
            return {str(key): readable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset() | models.QuerySet():
            return [readable(item) for item in value]
        case models.Model():
            return clipped(str(value), MAX_VALUE_CHARS)
        case _:
            return _as_text(value)


def clipped(text: str, limit: int) -> str:
    text = text.replace("\x00", "")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _as_text(value: object) -> str:
    try:
        return clipped(str(DjangoJSONEncoder().default(value)), MAX_VALUE_CHARS)
    except TypeError:
        return clipped(str(value), MAX_VALUE_CHARS)


def _actor_fields(actor: Actor) -> dict[str, object]:
    if actor is None:
        return {"actor_label": PLATFORM_LABEL}
    if isinstance(actor, User):
        return {"actor_label": clipped(actor.email, MAX_LABEL_CHARS), "actor_user_id": actor.pk}
    is_key = actor.kind not in {PrincipalKind.STAFF, PrincipalKind.DASHBOARD}
    return {
        "actor_label": clipped(str(actor), MAX_LABEL_CHARS),
        "actor_user_id": actor.user_id,
        "actor_key_id": actor.key_id if is_key else None,
    }
