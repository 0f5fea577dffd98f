"""What is told, and to whom, when something happens in a conversation; and the one shape in which each event leaves."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, Final

from django.db import transaction

from chats.choices import Role
from chats.models import ChatLog, Conversation
from chats.replies import message
from miners.streams import publish

Event = dict[str, Any]

FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    "queued": ("job_id", "position", "eta_ms"),
    "started": ("job_id", "attempt", "model"),
    "delta": ("job_id", "attempt", "offset", "text"),
    "reset": ("job_id", "attempt"),
    "tool_call": ("job_id", "tool_calls"),
    "done": ("job_id", "status", "finish_reason", "usage", "citations", "message_id"),
    "message": ("id", "role", "content", "name", "created_at", "job_id"),
    "typing": ("role",),
    "mode": ("mode",),
    "error": ("job_id", "detail", "error_code", "timestamp", "offer_human", "final"),
}
"""Every event that may leave, and its fields: whatever else a published event holds stays inside."""


def outgoing(event: Mapping[str, Any]) -> Event | None:
    """The event as the outside may see it; None for one that is not for the outside."""
    kind = event.get("type")
    if not isinstance(kind, str) or kind not in FIELDS:
        return None
    return {"type": kind, **{name: event[name] for name in FIELDS[kind] if name in event}}


def announce(conversation: Conversation, event: Event) -> None:
    """Publishes after commit; best effort, since readers that miss it catch up from the database."""
    transaction.on_commit(functools.partial(publish, conversation.topic, event))


def announce_message(conversation: Conversation, log: ChatLog) -> None:
    announce(conversation, message_event(log))


def announce_mode(conversation: Conversation) -> None:
    announce(conversation, {"type": "mode", "mode": conversation.mode})


def announce_typing(conversation: Conversation, role: Role) -> None:
    announce(conversation, {"type": "typing", "role": role.value})


def message_event(log: ChatLog) -> Event:
    """`id` first of all lets every reader drop what it has seen."""
    shown = message(log)
    return {"type": "message", **{name: shown[name] for name in FIELDS["message"]}}
