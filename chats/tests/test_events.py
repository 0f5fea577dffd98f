"""Events: only what is meant for outside leaves, and only after the commit."""

from __future__ import annotations

import json

import pytest
from django.db import transaction
from redis import Redis

from accounts.tenancy import platform_scope
from chats import events
from chats.choices import Role
from chats.models import Conversation
from chats.tests.factories import ChatLogFactory, ConversationFactory
from miners.streams import TOPIC_PREFIX


@pytest.mark.parametrize("event", [{}, {"type": None}, {"type": "secret"}, {"type": ["delta"]}, {"cancel": "x"}])
def test_what_is_not_for_outside_stays_inside(event: dict[str, object]) -> None:
    assert events.outgoing(event) is None


def test_an_event_leaves_with_its_own_fields_only() -> None:
    event = {"type": "mode", "mode": "human", "agent_email": "bob@bicycles.example", "business_id": 7}
    assert events.outgoing(event) == {"type": "mode", "mode": "human"}


@pytest.mark.django_db
def test_a_message_is_told_as_it_is_shown() -> None:
    log = ChatLogFactory(role=Role.AGENT, message="Hello", author_name="Bob")
    event = events.message_event(log)
    assert (event["type"], event["id"], event["role"]) == ("message", log.pk, "agent")
    assert (event["content"], event["name"], event["job_id"]) == ("Hello", "Bob", None)
    assert "business_id" not in event


@pytest.mark.django_db(transaction=True)
def test_nothing_is_told_before_the_commit(redis_client: Redis) -> None:
    conversation: Conversation = ConversationFactory()
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(TOPIC_PREFIX + conversation.topic)
        listener.get_message(timeout=2)
        with platform_scope():
            events.announce_mode(conversation)
            assert listener.get_message(timeout=0.2) is None
        told = listener.get_message(timeout=2)
    assert json.loads(told["data"]) == {"type": "mode", "mode": "ai"}


@pytest.mark.django_db(transaction=True)
def test_what_was_rolled_back_is_never_told(redis_client: Redis) -> None:
    conversation: Conversation = ConversationFactory()
    with redis_client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe(TOPIC_PREFIX + conversation.topic)
        listener.get_message(timeout=2)
        with platform_scope():
            events.announce_typing(conversation, Role.USER)
            transaction.set_rollback(True)
        assert listener.get_message(timeout=0.3) is None
