"""Every step of a conversation between the AI, the queue, a human and its end, put on record with the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from chats.choices import Owner
from chats.models import Conversation, OwnershipChange
from mia.lib.errors import NotFound

if TYPE_CHECKING:
    from accounts.models import User

HELD = ["mode", "status", "assignee", "handoff_reason", "handoff_requested_at"]


def hold(conversation: Conversation) -> None:
    """Locks the row and reads again what decides who owns it: what was read before may have been changed since.

    Comes after whatever locks jobs, as a job that ends locks itself first and its conversation then.
    Raises NotFound where it was deleted meanwhile.
    """
    rows = Conversation.objects.for_business(conversation.business_id).select_for_update(of=("self",))
    try:
        conversation.refresh_from_db(fields=HELD, from_queryset=rows)
    except Conversation.DoesNotExist as error:
        raise NotFound("There is no such session.") from error


@contextmanager
def recorded(
    conversation: Conversation, *, now: datetime, reason: str = "", actor: User | None = None, name: str = ""
) -> Iterator[None]:
    """Around what changes a held conversation's mode or status: one row where its owner is another one afterwards."""
    before = conversation.owner
    yield
    record(conversation, before, now=now, reason=reason, actor=actor, name=name)


def record(
    conversation: Conversation,
    before: Owner,
    *,
    now: datetime,
    reason: str = "",
    actor: User | None = None,
    name: str = "",
) -> None:
    if conversation.owner == before:
        return
    OwnershipChange.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        from_owner=before,
        to_owner=conversation.owner,
        reason=reason,
        actor=actor,
        actor_name=(actor.get_short_name() if actor is not None else name)[:150],
        at=now,
    )
