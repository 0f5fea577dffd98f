"""What staff do with a conversation from the admin; each act leaves a note in the transcript."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from chats import handoffs
from chats.choices import Mode, Role, Status
from chats.desk import ownership
from chats.limits import MAX_MESSAGE_CHARS
from chats.models import ChatLog, Conversation
from chats.webhooks import services as webhooks
from chats.webhooks.events import Event
from mia.lib.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from accounts.models import User


def assign(*, conversation: Conversation, agent: User, now: datetime) -> None:
    """Puts somebody in charge; who answers stays as it is."""
    conversation.assignee = agent
    conversation.save(update_fields=["assignee"])
    _note(conversation, f"{agent} is in charge.", now)


def take_over(*, conversation: Conversation, agent: User, now: datetime) -> None:
    """The agent answers the visitor from now on; what the AI is writing is stopped."""
    handoffs.take_over(conversation, agent=agent, now=now)
    _note(conversation, f"{agent} took over.", now)


def hand_back(*, conversation: Conversation, agent: User, now: datetime) -> None:
    """The AI answers again."""
    handoffs.hand_back(conversation, now=now, agent=agent)
    _note(conversation, f"{agent} handed back to the AI.", now)


def resolve(*, conversation: Conversation, agent: User, now: datetime) -> None:
    """Closes the conversation; the visitor's next message opens it again, and the AI answers that."""
    ownership.hold(conversation)
    if conversation.mode == Mode.HUMAN:
        handoffs.hand_back(conversation, now=now, agent=agent)
    with ownership.recorded(conversation, now=now, actor=agent):
        _set_status(conversation, Status.RESOLVED)
    _note(conversation, f"{agent} resolved the conversation.", now)
    webhooks.tell_of_conversation(Event.CONVERSATION_RESOLVED, conversation)


def reopen(*, conversation: Conversation, agent: User, now: datetime) -> None:
    """Nothing happens where it is open already."""
    ownership.hold(conversation)
    if conversation.status != Status.RESOLVED:
        return
    with ownership.recorded(conversation, now=now, actor=agent):
        _set_status(conversation, Status.OPEN)
    _note(conversation, f"{agent} opened the conversation again.", now)


def say(*, conversation: Conversation, agent: User, message: str, now: datetime) -> ChatLog:
    """Writes to the visitor. Raises InvalidRequest, and Conflict while the AI answers."""
    message = message.replace("\x00", "").strip()
    if not message:
        raise InvalidRequest({"message": ["Write something first."]})
    if len(message) > MAX_MESSAGE_CHARS:
        raise InvalidRequest({"message": [f"A message may have {MAX_MESSAGE_CHARS} characters."]})
    if conversation.mode != Mode.HUMAN:
        raise Conflict("The AI answers this visitor. Take over first.")
    return handoffs.say(conversation, message=message, name=agent.get_short_name(), author=agent, now=now)


def _set_status(conversation: Conversation, status: Status) -> None:
    conversation.status = status
    conversation.handoff_reason = ""
    conversation.handoff_requested_at = None
    conversation.snoozed_until = None
    conversation.save(update_fields=["status", "handoff_reason", "handoff_requested_at", "snoozed_until"])


def _note(conversation: Conversation, words: str, now: datetime) -> None:
    ChatLog.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        role=Role.SYSTEM,
        message=words,
        timestamp=now,
    )
