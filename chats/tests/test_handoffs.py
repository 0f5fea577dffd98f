"""Who answers: how people take a conversation over and give it back."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import handoffs
from chats.choices import HandoffReason, Mode, Status
from chats.models import Bot, Conversation
from chats.tests.callers import Caller, conversation_of, job_of
from chats.tests.factories import ConversationFactory

pytestmark = pytest.mark.django_db

NOW = timezone.now()
LATER = NOW + handoffs.SEAT_FRESH + timedelta(seconds=1)


@pytest.fixture
def conversation(bot: Bot) -> Conversation:
    return ConversationFactory(bot=bot)


def sit(conversation: Conversation) -> uuid.UUID:
    socket_id = uuid.uuid4()
    with platform_scope():
        handoffs.take_seat(conversation, socket_id=socket_id, name="Bob", now=NOW)
    return socket_id


def is_human(conversation: Conversation, now: object = NOW) -> bool:
    with platform_scope():
        conversation.refresh_from_db()
        return handoffs.is_human(conversation, now)


def test_a_new_conversation_is_the_ais(conversation: Conversation) -> None:
    assert not is_human(conversation)


def test_an_agent_who_sits_down_answers(conversation: Conversation) -> None:
    sit(conversation)
    assert is_human(conversation)
    assert conversation.handoff_reason == HandoffReason.AGENT


def test_an_agent_whose_socket_vanished_does_not_silence_the_ai_for_ever(conversation: Conversation) -> None:
    sit(conversation)
    assert is_human(conversation, NOW + timedelta(seconds=60))
    assert not is_human(conversation, LATER)
    assert conversation.mode == Mode.AI


def test_a_renewed_seat_stays_fresh(conversation: Conversation) -> None:
    socket_id = sit(conversation)
    with platform_scope():
        assert handoffs.renew_seat(socket_id=socket_id, now=NOW + timedelta(seconds=60))
    assert is_human(conversation, LATER)


def test_of_two_agents_the_last_one_turns_the_ai_on(conversation: Conversation) -> None:
    first, second = sit(conversation), sit(conversation)
    with platform_scope():
        handoffs.leave_seat(conversation, socket_id=first, now=NOW)
        assert conversation.mode == Mode.HUMAN
        handoffs.leave_seat(conversation, socket_id=second, now=NOW)
    assert conversation.mode == Mode.AI


def test_a_conversation_that_was_taken_over_stays_with_its_agent(conversation: Conversation, bob: User) -> None:
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
    assert is_human(conversation, LATER)
    assert conversation.assignee_id == bob.pk
    with platform_scope():
        handoffs.hand_back(conversation, now=NOW)
    assert not is_human(conversation)


def test_a_socket_that_leaves_does_not_undo_a_take_over(conversation: Conversation, bob: User) -> None:
    socket_id = sit(conversation)
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
        handoffs.leave_seat(conversation, socket_id=socket_id, now=NOW)
    assert is_human(conversation, LATER)


def test_taking_over_cancels_what_is_being_written(visitor: Caller, bob: User) -> None:
    reply = visitor.asked()
    conversation = conversation_of(reply)
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
    assert job_of(reply).state == "cancelled"


def test_a_wish_is_fulfilled_by_the_first_agent(conversation: Conversation) -> None:
    with platform_scope():
        handoffs.request(conversation, reason="", now=NOW)
    assert (conversation.status, conversation.handoff_requested_at) == (Status.WAITING, NOW)
    sit(conversation)
    conversation = Conversation(pk=conversation.pk)
    with platform_scope():
        conversation.refresh_from_db()
    assert (conversation.status, conversation.handoff_reason) == (Status.OPEN, HandoffReason.VISITOR)


def test_words_of_an_agent_are_kept_with_the_name(conversation: Conversation, bob: User) -> None:
    with platform_scope():
        log = handoffs.say(conversation, message="Bob hier.", name=str(bob), author=bob, now=NOW)
    assert (log.role, log.author_id, log.author_name) == ("agent", bob.pk, str(bob))
    assert conversation.snippet == "Bob hier."
