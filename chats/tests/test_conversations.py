"""What a visitor sees of a conversation and leaves in it: messages, thumbs, contact details, wishes, stars."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.tenancy import platform_scope
from chats.choices import Role, Status
from chats.models import Bot, Feedback, Lead, Rating
from chats.tests.callers import Caller, conversation_of
from chats.tests.factories import ChatLogFactory
from chats.tokens import read_stream_token

pytestmark = pytest.mark.django_db


@pytest.fixture
def answered(visitor: Caller) -> dict[str, Any]:
    """A conversation with one question and one answer; the visitor's reply, with the answer's id."""
    reply = visitor.asked()
    log = ChatLogFactory(conversation=conversation_of(reply), answer=True)
    return {**reply, "answer_id": log.pk}


def messages(caller: Caller, query: str = "") -> dict[str, Any]:
    response = caller.get(caller.in_session("messages") + query)
    assert response.status_code == 200, response.content
    return response.json()


def test_messages_are_shown_in_order_with_their_roles(visitor: Caller, answered: dict[str, Any]) -> None:
    shown = messages(visitor)
    assert [(m["role"], m["content"]) for m in shown["messages"]] == [
        ("user", "What does a tyre cost?"),
        ("assistant", "A tyre costs 30 francs."),
    ]
    assert (shown["session_id"], shown["mode"], shown["status"]) == (answered["session_id"], "ai", "open")


def test_the_answer_on_its_way_is_named(visitor: Caller) -> None:
    reply = visitor.asked()
    active = messages(visitor)["active_job"]
    assert active["job_id"] == reply["job_id"]
    assert active["stream_url"].startswith(f"/chat/{reply['session_id']}/events?")
    visitor.delete(f"/job/{reply['job_id']}")
    assert messages(visitor)["active_job"] is None


def test_notes_of_the_platform_are_not_the_visitors_to_read(visitor: Caller) -> None:
    reply = visitor.asked()
    visitor.delete(f"/job/{reply['job_id']}")
    assert [m["role"] for m in messages(visitor)["messages"]] == ["user"]


def test_a_long_conversation_is_read_in_pages(visitor: Caller) -> None:
    conversation = conversation_of(visitor.asked())
    with platform_scope():
        ChatLogFactory.create_batch(249, conversation=conversation)
    last = messages(visitor)
    assert len(last["messages"]) == 200
    first = messages(visitor, f"?before={last['before']}")
    assert (len(first["messages"]), first["before"]) == (50, None)
    ids = [m["id"] for m in first["messages"] + last["messages"]]
    assert ids == sorted(set(ids))


def test_messages_cost_the_same_queries_however_many_there_are(visitor: Caller) -> None:
    conversation = conversation_of(visitor.asked())
    with CaptureQueriesContext(connection) as few:
        messages(visitor)
    ChatLogFactory.create_batch(50, conversation=conversation)
    with CaptureQueriesContext(connection) as many:
        messages(visitor)
    assert len(few) == len(many) <= 8


@pytest.mark.parametrize("before", ["x", "-1", "1.5", "9" * 30, "٣"])
def test_a_cursor_that_is_none_is_refused(visitor: Caller, before: str) -> None:
    visitor.asked()
    assert visitor.get(visitor.in_session(f"messages?before={before}")).status_code == 400


def test_the_last_thumb_counts(visitor: Caller, answered: dict[str, Any]) -> None:
    for verdict in ("positive", "negative"):
        body = {"message_id": answered["answer_id"], "feedback": verdict, "reason": "wrong price"}
        assert visitor.post(visitor.in_session("feedback"), body).json()["feedback"] == verdict
    with platform_scope():
        assert [(f.verdict, f.reason) for f in Feedback.objects.all()] == [("negative", "wrong price")]
    assert messages(visitor)["messages"][1]["feedback"] == "negative"


def test_only_answers_of_this_session_are_rated(visitor: Caller, answered: dict[str, Any]) -> None:
    question_id = messages(visitor)["messages"][0]["id"]
    elsewhere = ChatLogFactory(answer=True)
    for message_id in (question_id, elsewhere.pk, 10**9):
        body = {"message_id": message_id, "feedback": "positive"}
        assert visitor.post(visitor.in_session("feedback"), body).status_code == 404


def test_contact_details_are_kept_and_thanked_for(visitor: Caller, bot: Bot) -> None:
    with platform_scope():
        Bot.objects.update(confirmation_message="We call you tomorrow.")
    reply = visitor.asked()
    body = {"name": "Zoë", "email": "zoe@visitor.example", "phone": "+41 44 000 00 00", "note": "after six"}
    response = visitor.post(visitor.in_session("lead"), body)
    assert response.json()["message"] == "We call you tomorrow."
    with platform_scope():
        lead = Lead.objects.get()
    assert (lead.name, lead.email, lead.phone, lead.note) == tuple(body.values())
    assert conversation_of(reply).visitor_email == "zoe@visitor.example"


@pytest.mark.parametrize("body", [{}, {"name": "Zoë"}, {"email": "not an address"}, {"email": ["a@b.example"]}])
def test_contact_details_that_reach_nobody_are_refused(visitor: Caller, body: dict[str, Any]) -> None:
    visitor.asked()
    assert visitor.post(visitor.in_session("lead"), body).status_code == 400
    with platform_scope():
        assert not Lead.objects.exists()


def test_a_wish_for_a_human_is_noted_once(visitor: Caller) -> None:
    reply = visitor.asked()
    for _ in range(2):
        response = visitor.post(visitor.in_session("handoff"), {"reason": "I want a person"})
        assert (response.json()["status"], response.json()["mode"]) == ("waiting", "ai")
    conversation = conversation_of(reply)
    assert conversation.status == Status.WAITING
    with platform_scope():
        assert conversation.chat_logs.filter(role=Role.SYSTEM).count() == 1


def test_the_last_stars_count(visitor: Caller) -> None:
    visitor.asked()
    for score in (2, 5):
        assert visitor.post(visitor.in_session("csat"), {"score": score, "comment": "ok"}).status_code == 200
    with platform_scope():
        assert [rating.score for rating in Rating.objects.all()] == [5]


@pytest.mark.parametrize("score", [0, 6, "5", 4.5, True, None])
def test_stars_are_one_to_five(visitor: Caller, score: object) -> None:
    visitor.asked()
    assert visitor.post(visitor.in_session("csat"), {"score": score}).status_code == 400


def test_a_fresh_stream_token_is_for_this_session(visitor: Caller) -> None:
    reply = visitor.asked()
    shown = visitor.post(visitor.in_session("stream_token")).json()
    assert str(read_stream_token(shown["stream_token"]).conversation_id) == reply["session_id"]
    assert shown["stream_url"].startswith(f"/chat/{reply['session_id']}/events?stream_token=")


def test_the_widget_learns_what_it_has_to_show(visitor: Caller, bot: Bot) -> None:
    shown = visitor.get("/chat/config").json()
    assert shown["bot"]["id"] == bot.pk
    assert (shown["bot"]["name"], shown["bot"]["first_message"]) == ("Dora", "Hello! How can I help?")
    assert shown["bot"]["look"] == {"color": "#1f6feb", "position": "right", "title": "Dora"}
    assert shown["locale"] == "en"
    assert "tyre costs" not in str(shown)


def test_typing_is_passed_on_and_not_kept(visitor: Caller) -> None:
    visitor.asked()
    assert visitor.post(visitor.in_session("typing")).status_code == 204
