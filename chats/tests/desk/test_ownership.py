"""Who owns a conversation: one step at a time, each on record, whoever else acts at the same moment."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from itertools import pairwise

import pytest
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import handoffs, inbox
from chats.choices import Mode, Owner, Status
from chats.models import Bot, Conversation, OwnershipChange
from chats.tests.callers import Caller, conversation_of, job_of
from chats.tests.factories import ConversationFactory
from mia.lib.errors import Conflict

pytestmark = pytest.mark.django_db

NOW = timezone.now()


@pytest.fixture
def conversation(bot: Bot) -> Conversation:
    return ConversationFactory(bot=bot)


def seen(conversation: Conversation) -> Conversation:
    """As another request read it before the first one wrote."""
    with platform_scope():
        return Conversation.objects.get(pk=conversation.pk)


def steps(conversation: Conversation) -> list[tuple[str, str]]:
    with platform_scope():
        changes = OwnershipChange.objects.filter(conversation=conversation)
        return list(changes.values_list("from_owner", "to_owner"))


def agree(conversation: Conversation) -> None:
    """The record is a chain, and its end is what the row says."""
    taken = steps(conversation)
    assert all(before[1] == after[0] for before, after in pairwise(taken)), taken
    now_there = seen(conversation)
    assert taken[-1][1] == now_there.owner, (taken, now_there.mode, now_there.status)
    assert (now_there.mode, now_there.status) not in {(Mode.HUMAN, Status.WAITING), (Mode.HUMAN, Status.RESOLVED)}


def test_a_whole_life_is_on_record(conversation: Conversation, bob: User) -> None:
    with platform_scope():
        handoffs.request(conversation, reason="", now=NOW)
        handoffs.take_over(conversation, agent=bob, now=NOW)
        handoffs.hand_back(conversation, agent=bob, now=NOW)
        inbox.resolve(conversation=conversation, agent=bob, now=NOW)
        inbox.reopen(conversation=conversation, agent=bob, now=NOW)
    assert steps(conversation) == [
        ("ai", "queue"),
        ("queue", "human"),
        ("human", "ai"),
        ("ai", "closed"),
        ("closed", "ai"),
    ]


def test_the_second_of_two_agents_is_told_who_was_quicker(conversation: Conversation, bob: User, alice: User) -> None:
    late = seen(conversation)
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
        with pytest.raises(Conflict, match=str(bob)):
            handoffs.take_over(late, agent=alice, now=NOW)
    assert seen(conversation).assignee_id == bob.pk
    agree(conversation)


STALE: dict[str, Callable[[Conversation, User], object]] = {
    "wish": lambda late, agent: handoffs.request(late, reason="", now=NOW),
    "resolve": lambda late, agent: inbox.resolve(conversation=late, agent=agent, now=NOW),
    "seat": lambda late, agent: handoffs.take_seat(late, socket_id=uuid.uuid4(), name="Ana", now=NOW),
    "reopen": lambda late, agent: inbox.reopen(conversation=late, agent=agent, now=NOW),
}


@pytest.mark.parametrize("act", STALE)
def test_who_read_before_a_take_over_does_not_undo_it_unseen(conversation: Conversation, bob: User, act: str) -> None:
    late = seen(conversation)
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
        STALE[act](late, bob)
    agree(conversation)


def test_two_wishes_at_once_are_one(conversation: Conversation) -> None:
    late = seen(conversation)
    with platform_scope():
        handoffs.request(conversation, reason="", now=NOW)
        handoffs.request(late, reason="", now=NOW)
    agree(conversation)


def test_two_who_hand_back_at_once_are_one(conversation: Conversation, bob: User) -> None:
    with platform_scope():
        handoffs.take_over(conversation, agent=bob, now=NOW)
    late = seen(conversation)
    with platform_scope():
        handoffs.hand_back(conversation, agent=bob, now=NOW)
        handoffs.hand_back(late, agent=bob, now=NOW)
    agree(conversation)


def test_a_question_put_before_a_take_over_is_stopped_by_it(visitor: Caller, bob: User) -> None:
    first = visitor.asked()
    late = seen(conversation_of(first))
    second = visitor.asked(session_id=first["session_id"])
    with platform_scope():
        handoffs.take_over(late, agent=bob, now=NOW)
    assert job_of(second).state == "cancelled"


def test_the_owner_after_reopening_is_the_ai(visitor: Caller, bob: User) -> None:
    reply = visitor.asked()
    with platform_scope():
        conversation = conversation_of(reply)
        handoffs.take_over(conversation, agent=bob, now=NOW)
        inbox.resolve(conversation=conversation, agent=bob, now=NOW)
    visitor.asked(session_id=reply["session_id"])
    assert seen(conversation).owner == Owner.AI
    agree(conversation)
