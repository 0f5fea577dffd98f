"""Who may follow a conversation on the event stream, from where, and until when."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import pytest

from accounts.models import Business
from chats.consumers import _open_streams
from chats.limits import MAX_STREAMS_PER_CONVERSATION
from chats.tests.callers import Caller
from chats.tests.issuers import make_dashboard
from chats.tests.streams import run, stream
from mia.lib.drain import drain

pytestmark = pytest.mark.django_db(transaction=True)


def status_of(url: str, **headers: str) -> tuple[int, str]:
    """The status, and the error's code if there is one."""

    async def scenario() -> tuple[int, str]:
        async with stream(url, **headers) as reader:
            if reader.status == 200:
                return 200, ""
            await asyncio.wait_for(reader.closed.wait(), 5)
            error = json.loads(reader.raw)
            assert set(error) == {"detail", "error_code", "timestamp"}
            return reader.status, error["error_code"]

    return run(scenario)


def bare(url: str) -> str:
    return url.partition("?")[0]


def test_the_stream_opens_by_token_session_key_or_dashboard(
    visitor: Caller, server: Caller, business: Business
) -> None:
    reply = visitor.asked()
    url = reply["stream_url"]
    jwt = make_dashboard(business).agent(reply["session_id"])
    assert status_of(url) == (200, "")
    assert status_of(bare(url), x_session_token=reply["session_token"]) == (200, "")
    assert status_of(bare(url), authorization=f"Bearer {server.key}") == (200, "")
    assert status_of(bare(url), x_api_key=server.key) == (200, "")
    assert status_of(bare(url), authorization=f"Bearer {jwt}") == (200, "")


def test_without_any_credential_it_stays_closed(visitor: Caller) -> None:
    assert status_of(bare(visitor.asked()["stream_url"])) == (401, "NOT_AUTHENTICATED")


@pytest.mark.parametrize("token", ["x", "a:b:c", "%ff", "x" * 1000])
def test_a_forged_token_is_refused(visitor: Caller, token: str) -> None:
    url = bare(visitor.asked()["stream_url"])
    assert status_of(f"{url}?stream_token={token}")[0] in {400, 401}


def test_a_widgets_key_alone_opens_nothing(visitor: Caller) -> None:
    url = bare(visitor.asked()["stream_url"])
    headers = {"authorization": f"Bearer {visitor.key}", "origin": "https://shop.example"}
    assert status_of(url, **headers) == (404, "NOT_FOUND")


def test_one_sessions_token_does_not_open_another(visitor: Caller, second_visitor: Caller) -> None:
    first, second = visitor.asked(), second_visitor.asked()
    token = first["stream_url"].partition("?")[2]
    assert status_of(f"{bare(second['stream_url'])}?{token}") == (404, "NOT_FOUND")


def test_strangers_and_unknown_sessions_are_not_found(visitor: Caller, stranger: Caller, server: Caller) -> None:
    url = bare(visitor.asked()["stream_url"])
    assert status_of(url, authorization=f"Bearer {stranger.key}") == (404, "NOT_FOUND")
    unknown = f"/chat/{uuid.uuid4()}/events"
    assert status_of(unknown, authorization=f"Bearer {server.key}") == (404, "NOT_FOUND")


def test_a_foreign_page_may_not_follow_and_learns_why(visitor: Caller) -> None:
    url = visitor.asked()["stream_url"]
    assert status_of(url, origin="https://evil.example") == (403, "ORIGIN_NOT_ALLOWED")


def test_a_page_of_our_own_may_follow(visitor: Caller) -> None:
    url = visitor.asked()["stream_url"]
    assert status_of(url, origin="http://mia.example", host="mia.example") == (200, "")


def test_a_refused_page_of_a_customer_can_read_the_refusal(visitor: Caller) -> None:
    url = bare(visitor.asked()["stream_url"])

    async def scenario() -> None:
        async with stream(f"{url}?stream_token=x", origin="https://shop.example") as reader:
            assert reader.status == 401
            assert reader.headers["access-control-allow-origin"] == "https://shop.example"

    run(scenario)


def test_a_preflight_is_answered_for_customers_pages_only(visitor: Caller) -> None:
    url = bare(visitor.asked()["stream_url"])

    async def scenario() -> None:
        async with stream(url, "OPTIONS", origin="https://shop.example") as reader:
            assert reader.status == 204
            assert "Last-Event-ID" in reader.headers["access-control-allow-headers"]
        async with stream(url, "OPTIONS", origin="https://evil.example") as reader:
            assert "access-control-allow-origin" not in reader.headers

    run(scenario)


def test_another_method_is_refused(visitor: Caller) -> None:
    url = visitor.asked()["stream_url"]

    async def scenario() -> None:
        async with stream(url, "POST") as reader:
            assert reader.status == 405

    run(scenario)


def test_a_session_is_followed_by_so_many_streams_and_no_more(visitor: Caller) -> None:
    reply = visitor.asked()
    _open_streams[uuid.UUID(reply["session_id"])] = MAX_STREAMS_PER_CONVERSATION
    try:
        assert status_of(reply["stream_url"]) == (429, "RATE_LIMITED")
    finally:
        _open_streams.clear()


def test_streams_that_ended_are_not_counted(visitor: Caller) -> None:
    reply = visitor.asked()
    for _ in range(3):
        assert status_of(reply["stream_url"]) == (200, "")
    assert not _open_streams


def test_a_dashboards_stream_ends_with_its_token(
    visitor: Caller, business: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chats.following.QUEUE_NEWS_S", 0.2)
    reply = visitor.asked()
    jwt = make_dashboard(business).agent(reply["session_id"], exp=int(time.time()) + 2)

    async def scenario() -> None:
        async with stream(bare(reply["stream_url"]), authorization=f"Bearer {jwt}") as reader:
            await asyncio.wait_for(reader.closed.wait(), 10)

    run(scenario)


def test_a_process_that_stops_ends_its_streams_cleanly(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            drain.begin()
            try:
                await asyncio.wait_for(reader.closed.wait(), 2)
            finally:
                drain.is_draining = False

    run(scenario)


def test_a_quiet_stream_is_kept_alive(visitor: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chats.consumers.KEEP_ALIVE_S", 0.6)
    monkeypatch.setattr("chats.following.KEEP_ALIVE_S", 0.2)
    monkeypatch.setattr("chats.following.QUEUE_NEWS_S", 0.2)
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            await asyncio.sleep(1)
            assert b"\n\n: still here\n\n" in reader.raw

    run(scenario)
