"""Which events there are, and what each tells."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _

from chats.models.conversations import ChatLog, Conversation
from chats.models.feedback import Feedback, Lead, Rating
from mia.lib.errors import format_timestamp


class Event(models.TextChoices):
    """What a business may be told of."""

    CONVERSATION_STARTED = "conversation.started", _("A conversation has begun")
    MESSAGE_CREATED = "message.created", _("A message was written")
    HANDOFF_REQUESTED = "handoff.requested", _("A human is wanted")
    CONVERSATION_ASSIGNED = "conversation.assigned", _("An agent took a conversation over")
    CONVERSATION_RESOLVED = "conversation.resolved", _("A conversation was resolved")
    LEAD_CREATED = "lead.created", _("Contact details were left")
    FEEDBACK_GIVEN = "feedback.given", _("An answer was rated")
    RATING_GIVEN = "rating.given", _("A conversation was rated")


PING = "ping"
"""Sent from the admin to see whether an endpoint works, whatever it is subscribed to."""


def of_conversation(conversation: Conversation) -> dict[str, Any]:
    return {
        "session_id": str(conversation.public_id),
        "external_id": conversation.external_id or None,
        "bot_id": conversation.bot_id,
        "mode": conversation.mode,
        "status": conversation.status,
        "handoff_reason": conversation.handoff_reason or None,
        "visitor": {"name": conversation.visitor_name, "email": conversation.visitor_email},
        "created_at": format_timestamp(conversation.created_at),
    }


def of_message(conversation: Conversation, log: ChatLog) -> dict[str, Any]:
    return {
        "id": log.pk,
        "session_id": str(conversation.public_id),
        "bot_id": conversation.bot_id,
        "role": log.role,
        "content": log.message,
        "name": log.author_name,
        "citations": log.citations,
        "created_at": format_timestamp(log.timestamp),
    }


def of_lead(conversation: Conversation, lead: Lead) -> dict[str, Any]:
    return {
        "id": lead.pk,
        "session_id": str(conversation.public_id),
        "name": lead.name,
        "email": lead.email,
        "phone": lead.phone,
        "note": lead.note,
        "created_at": format_timestamp(lead.created_at),
    }


def of_feedback(conversation: Conversation, feedback: Feedback) -> dict[str, Any]:
    return {
        "session_id": str(conversation.public_id),
        "message_id": feedback.message_id,
        "feedback": feedback.verdict,
        "reason": feedback.reason,
    }


def of_rating(conversation: Conversation, rating: Rating) -> dict[str, Any]:
    return {"session_id": str(conversation.public_id), "score": rating.score, "comment": rating.comment}
