"""Who answers: the AI, or people while they sit in the conversation or have taken it over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import transaction

from chats import events
from chats.channels import outbox
from chats.choices import HandoffReason, Mode, Role, Status
from chats.desk import ownership
from chats.models import AgentSeat, ChatLog, Conversation
from chats.webhooks import services as webhooks
from chats.webhooks.events import Event
from mia.lib.errors import Conflict
from miners.choices import JobKind
from miners.models import Job
from miners.services import cancel_job

if TYPE_CHECKING:
    from accounts.models import User
    from miners.querysets import JobQuerySet

SEAT_FRESH = timedelta(seconds=90)
SEAT_RENEW_S = 30
MOST_ATTEMPTS = 50


def is_human(conversation: Conversation, now: datetime) -> bool:
    """Whether people answer now; a conversation whose agents' sockets all vanished goes back to the AI."""
    if conversation.mode != Mode.HUMAN:
        return False
    if conversation.assignee_id is not None or _has_fresh_seat(conversation, now):
        return True
    return not _give_back_if_deserted(conversation, now)


def request(
    conversation: Conversation, *, reason: str, now: datetime, why: HandoffReason = HandoffReason.VISITOR
) -> Conversation:
    """Asks for a human; asking again changes nothing."""
    ownership.hold(conversation)
    if conversation.status != Status.WAITING and conversation.mode != Mode.HUMAN:
        with ownership.recorded(conversation, now=now, reason=why):
            conversation.status = Status.WAITING
            conversation.handoff_reason = why
            conversation.handoff_requested_at = now
            conversation.snoozed_until = None
            conversation.save(update_fields=["status", "handoff_reason", "handoff_requested_at", "snoozed_until"])
        _note(conversation, reason or "The visitor asked for a human.", now)
        webhooks.tell_of_conversation(Event.HANDOFF_REQUESTED, conversation)
    return conversation


def take_over(conversation: Conversation, *, agent: User, now: datetime) -> Conversation:
    """An agent answers from now on, until `hand_back`; what the AI is writing is stopped.

    Raises Conflict where another agent was quicker.
    """
    _silence(conversation, now)
    if conversation.mode == Mode.HUMAN and conversation.assignee_id not in {None, agent.pk}:
        raise Conflict(f"{conversation.assignee} already took this conversation.")
    conversation.assignee = agent
    conversation.save(update_fields=["assignee"])
    with ownership.recorded(conversation, now=now, reason=HandoffReason.AGENT, actor=agent):
        _turn_human(conversation)
    webhooks.tell_of_conversation(Event.CONVERSATION_ASSIGNED, conversation)
    return conversation


def hand_back(conversation: Conversation, *, now: datetime, agent: User | None = None) -> Conversation:
    """The AI answers again."""
    ownership.hold(conversation)
    conversation.assignee = None
    conversation.save(update_fields=["assignee"])
    _give_back(conversation, now, agent)
    return conversation


def take_seat(conversation: Conversation, *, socket_id: UUID, name: str, now: datetime) -> AgentSeat:
    """An agent's socket joined; the caller may not hold the conversation's row yet."""
    _silence(conversation, now)
    seat: AgentSeat = AgentSeat.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        socket_id=socket_id,
        name=name[:150],
        seen_at=now,
    )
    with ownership.recorded(conversation, now=now, reason=HandoffReason.AGENT, name=name):
        _turn_human(conversation)
    return seat


def renew_seat(*, socket_id: UUID, now: datetime) -> bool:
    """Whether the seat is still there; one that was away too long is gone, and the socket has to join again."""
    return bool(AgentSeat.objects.filter(socket_id=socket_id).update(seen_at=now))


def leave_seat(conversation: Conversation, *, socket_id: UUID, now: datetime) -> None:
    """An agent's socket left; after the last one the AI answers. The caller holds the conversation's row lock."""
    conversation.seats.filter(socket_id=socket_id).delete()
    if conversation.mode == Mode.HUMAN and conversation.assignee_id is None and not _has_fresh_seat(conversation, now):
        _give_back(conversation, now)


def say(conversation: Conversation, *, message: str, name: str, author: User | None, now: datetime) -> ChatLog:
    """An agent's words to the visitor."""
    log: ChatLog = ChatLog.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        role=Role.AGENT,
        message=message,
        author=author,
        author_name=name[:150],
        timestamp=now,
    )
    conversation.touch(message, now)
    conversation.save(update_fields=["snippet", "last_message_at"])
    events.announce_message(conversation, log)
    webhooks.tell_of_message(conversation, log)
    outbox.queue(conversation, log, now=now)
    return log


def _has_fresh_seat(conversation: Conversation, now: datetime) -> bool:
    return bool(conversation.seats.fresh(now - SEAT_FRESH).exists())


def _turn_human(conversation: Conversation) -> Conversation:
    if conversation.mode == Mode.HUMAN:
        return conversation
    conversation.mode = Mode.HUMAN
    conversation.status = Status.OPEN
    conversation.handoff_reason = conversation.handoff_reason or HandoffReason.AGENT
    conversation.save(update_fields=["mode", "status", "handoff_reason"])
    events.announce_mode(conversation)
    return conversation


def _silence(conversation: Conversation, now: datetime) -> None:
    """Stops every answer that is being written and holds the row, so that none is written once a human owns it.

    A job that ends locks itself first and its conversation then, so jobs are cancelled before the row is held. What
    was asked between the two makes it let go of the row and begin again. Raises Conflict where that never ends.
    """
    for _attempt in range(MOST_ATTEMPTS):
        for job in _answers(conversation):
            cancel_job(job=job, now=now)
        if _holds_silent(conversation):
            return
    raise Conflict("The visitor is writing. Try again.")


def _holds_silent(conversation: Conversation) -> bool:
    """Whether the row is held and nothing is being written; what is rolled back lets go of the row."""
    with transaction.atomic():
        ownership.hold(conversation)
        if not _answers(conversation).exists():
            return True
        transaction.set_rollback(True)
    return False


def _answers(conversation: Conversation) -> JobQuerySet:
    """Those on their way; the live jobs of a business are few."""
    jobs = Job.objects.filter(business_id=conversation.business_id, topic=conversation.topic, kind=JobKind.CHAT)
    return jobs.live()


def _give_back_if_deserted(conversation: Conversation, now: datetime) -> bool:
    ownership.hold(conversation)
    if conversation.mode == Mode.HUMAN and (conversation.assignee_id is not None or _has_fresh_seat(conversation, now)):
        return False
    _give_back(conversation, now)
    return True


def _give_back(conversation: Conversation, now: datetime, agent: User | None = None) -> None:
    conversation.seats.all().delete()
    with ownership.recorded(conversation, now=now, actor=agent):
        _turn_ai(conversation)


def _turn_ai(conversation: Conversation) -> None:
    if conversation.mode == Mode.AI:
        return
    conversation.mode = Mode.AI
    conversation.handoff_reason = ""
    conversation.handoff_requested_at = None
    conversation.save(update_fields=["mode", "handoff_reason", "handoff_requested_at"])
    events.announce_mode(conversation)


def _note(conversation: Conversation, words: str, now: datetime) -> None:
    ChatLog.objects.create(
        business_id=conversation.business_id,
        conversation=conversation,
        role=Role.SYSTEM,
        message=words,
        timestamp=now,
    )
