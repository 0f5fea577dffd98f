"""Every step of a conversation between the AI, the queue, a human and its end, put on record with the step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from chats.choices import Owner
from chats.models import Conversation, OwnershipChange

if TYPE_CHECKING:
    from accounts.models import User


@contextmanager
def recorded(
    conversation: Conversation, *, now: datetime, reason: str = "", actor: User | None = None, name: str = ""
) -> Iterator[None]:
    """Around what changes a conversation's mode or status: one row where its owner is another one afterwards."""
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
