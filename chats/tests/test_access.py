"""Who may open what: a stranger finds nothing, and a session's id alone opens nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest

from accounts.models import ApiKey, Business
from accounts.tenancy import business_scope
from accounts.tests.factories import ApiKeyFactory
from chats.models import Bot, ChatLog, Conversation
from chats.tests.callers import Caller, count_rows
from chats.tokens import session_token

pytestmark = pytest.mark.django_db

Call = Callable[[Caller, str], Any]
CALLS: dict[str, Call] = {
    "messages": lambda caller, session: caller.get(f"/chat/{session}/messages"),
    "feedback": lambda caller, session: caller.post(
        f"/chat/{session}/feedback", {"message_id": 1, "feedback": "positive"}
    ),
    "lead": lambda caller, session: caller.post(f"/chat/{session}/lead", {"email": "a@b.example"}),
    "handoff": lambda caller, session: caller.post(f"/chat/{session}/handoff"),
    "csat": lambda caller, session: caller.post(f"/chat/{session}/csat", {"score": 5}),
    "typing": lambda caller, session: caller.post(f"/chat/{session}/typing"),
    "stream_token": lambda caller, session: caller.post(f"/chat/{session}/stream_token"),
    "chat": lambda caller, session: caller.post("/chat", {"message": "hello", "session_id": session}),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_strangers_session_is_not_found(server: Caller, stranger: Caller, call: Call) -> None:
    server.asked()
    before = count_rows()
    response = call(stranger, str(server.session_id))
    assert (response.status_code, response.json()["error_code"]) == (404, "NOT_FOUND")
    assert count_rows() == before


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_another_visitors_session_is_not_found(visitor: Caller, second_visitor: Caller, call: Call) -> None:
    visitor.asked()
    second_visitor.asked()
    assert call(second_visitor, str(visitor.session_id)).status_code == 404


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_sessions_id_alone_opens_nothing(visitor: Caller, call: Call) -> None:
    visitor.asked()
    visitor.token = None
    assert call(visitor, str(visitor.session_id)).status_code == 404


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_without_a_key_there_is_no_way_in(visitor: Caller, call: Call) -> None:
    visitor.asked()
    visitor.key = ""
    assert call(visitor, str(visitor.session_id)).status_code == 401


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_unknown_session_is_not_found(server: Caller, call: Call) -> None:
    assert call(server, str(uuid.uuid4())).status_code == 404


def test_a_client_key_does_not_chat(bot: Bot, client_key: ApiKey) -> None:
    response = Caller(client_key.plain).ask()
    assert (response.status_code, response.json()["error_code"]) == (403, "FORBIDDEN")


def test_a_revoked_or_expired_key_asks_nothing(bot: Bot, business: Business) -> None:
    for state in ("revoked", "expired"):
        assert Caller(ApiKeyFactory(business=business, **{state: True}).plain).ask().status_code == 401
    assert count_rows() == (0, 0, 0)


def test_a_widget_speaks_only_from_its_own_pages(bot: Bot, publishable_key: ApiKey) -> None:
    for origin in ("https://evil.example", None):
        response = Caller(publishable_key.plain, origin=origin).ask()
        assert (response.status_code, response.json()["error_code"]) == (403, "ORIGIN_NOT_ALLOWED")


def test_another_business_may_not_be_named(server: Caller, business: Business, other_business: Business) -> None:
    assert server.ask(business_id=other_business.pk).status_code == 404
    assert server.ask(business_id=business.pk).status_code == 200


def test_a_bot_of_another_business_is_not_found(server: Caller, other_bot: Bot) -> None:
    assert server.ask(bot_id=other_bot.pk).status_code == 404


def test_a_token_for_another_business_opens_nothing(visitor: Caller, other_business: Business) -> None:
    visitor.asked()
    visitor.token = session_token(conversation_id=uuid.UUID(visitor.session_id), business_id=other_business.pk)
    assert visitor.get(visitor.in_session("messages")).status_code == 404


def test_a_job_is_shown_to_its_business_and_its_visitor_only(
    visitor: Caller, server: Caller, second_visitor: Caller, stranger: Caller
) -> None:
    path = visitor.asked()["poll_url"]
    second_visitor.asked()
    assert [caller.get(path).status_code for caller in (visitor, server, second_visitor, stranger)] == [
        200, 200, 404, 404,
    ]  # fmt: skip
    visitor.token = None
    assert visitor.get(path).status_code == 404


def test_a_job_is_cancelled_by_its_business_and_its_visitor_only(
    visitor: Caller, second_visitor: Caller, stranger: Caller
) -> None:
    path = f"/job/{visitor.asked()['job_id']}"
    second_visitor.asked()
    assert [caller.delete(path).status_code for caller in (second_visitor, stranger, visitor)] == [404, 404, 200]


def test_the_database_itself_keeps_businesses_apart(
    server: Caller, stranger: Caller, business: Business, other_business: Business
) -> None:
    server.asked()
    stranger.asked()
    with business_scope(business.pk):
        assert {c.business_id for c in Conversation.objects.all()} == {business.pk}
        assert {log.business_id for log in ChatLog.objects.all()} == {business.pk}
    with business_scope():
        assert not Bot.objects.exists()
