"""Who owns a conversation when many act at once: real transactions, and one history in the end."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import handoffs
from chats.choices import Owner
from chats.models import Conversation, OwnershipChange
from chats.tests.callers import Caller, conversation_of
from chats.tests.test_concurrency import at_once
from mia.lib.errors import Conflict
from miners.models import Job

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_pause_between_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor's own speed limit is tested elsewhere."""
    monkeypatch.setattr("chats.admission.check_visitor", lambda visitor: None)


def read(conversation: Conversation) -> Conversation:
    return Conversation.objects.get(pk=conversation.pk)


def in_turn(act: Callable[[Conversation], object], conversation: Conversation) -> bool:
    """As a view does it: read, act, commit; False where somebody was quicker."""
    try:
        with platform_scope(), transaction.atomic():
            act(read(conversation))
    except Conflict:
        return False
    return True


def chain_of(conversation: Conversation) -> list[tuple[str, str]]:
    with platform_scope():
        changes = OwnershipChange.objects.filter(conversation=conversation)
        return list(changes.values_list("from_owner", "to_owner"))


def owner_of(conversation: Conversation) -> Owner:
    with platform_scope():
        return read(conversation).owner


def test_of_two_agents_at_once_one_has_it_and_one_step_is_on_record(server: Caller, alice: User, bob: User) -> None:
    conversation = conversation_of(server.asked())
    now = timezone.now()
    acts = [lambda talk, agent=agent: handoffs.take_over(talk, agent=agent, now=now) for agent in (alice, bob)]
    won = at_once(lambda act: in_turn(act, conversation), acts)
    assert sorted(won) == [False, True]
    assert chain_of(conversation) == [("ai", "human")]


def while_asking(server: Caller, act: Callable[[Conversation], object]) -> Conversation:
    """Does something to a conversation while its visitor asks more, several times over."""
    conversation = conversation_of(server.asked())
    session_id = server.session_id

    def ask() -> int:
        return int(Caller(server.key, session_id=session_id).ask("More?").status_code)

    assert {True, 200} >= set(at_once(lambda what: what(), [lambda: in_turn(act, conversation), ask, ask, ask]))
    return conversation


def test_no_answer_is_being_written_once_a_human_owns(server: Caller, bob: User) -> None:
    conversation = while_asking(server, lambda talk: handoffs.take_over(talk, agent=bob, now=timezone.now()))
    with platform_scope():
        assert not Job.objects.filter(topic=conversation.topic).live().exists()
    assert owner_of(conversation) == Owner.HUMAN


def test_wishes_takes_and_returns_at_once_leave_one_history(server: Caller, bob: User) -> None:
    conversation = conversation_of(server.asked())
    now = timezone.now()
    acts: list[Callable[[Conversation], object]] = [
        lambda talk: handoffs.request(talk, reason="", now=now),
        lambda talk: handoffs.take_over(talk, agent=bob, now=now),
        lambda talk: handoffs.hand_back(talk, agent=bob, now=now),
    ]
    at_once(lambda act: in_turn(act, conversation), acts * 5)
    chain = chain_of(conversation)
    assert all(step[1] == following[0] for step, following in pairwise(chain)), chain
    assert chain[-1][1] == owner_of(conversation)


def test_a_wish_for_a_human_outlives_questions_asked_at_once(server: Caller) -> None:
    conversation = while_asking(server, lambda talk: handoffs.request(talk, reason="", now=timezone.now()))
    assert owner_of(conversation) == Owner.QUEUE
    assert chain_of(conversation) == [("ai", "queue")]
