"""POST /chat?wait= and Prefer: wait=: the answer in the reply, if it comes in time."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import pytest

from chats.choices import Role
from chats.consumers import waiting_chat
from chats.tests.callers import Caller, count_rows, logs_of
from chats.tests.streams import answer, cancel, in_thread, run, take_job
from mia.lib.bridge import WsgiBridge
from mia.wsgi import application as django
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db(transaction=True)

KEY = "c0a8017e-6b4f-4d2a-8f61-0d6b4b3f1f00"


async def post(caller: Caller, query: str = "", body: Any = None, **headers: str) -> tuple[int, dict[str, str], Any]:
    """A request through the lane and Django's WSGI handler, as mia.asgi mounts them."""
    content = body if isinstance(body, bytes) else json.dumps(body or {"message": "What does a tyre cost?"}).encode()
    sent: list[dict[str, Any]] = []
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": content, "more_body": False})
    all_headers = {"content-type": "application/json", "content-length": str(len(content)), "host": "localhost"}
    all_headers |= {name.lower(): value for name, value in caller.headers(**headers).items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/chat",
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in all_headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("localhost", 80),
    }

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await waiting_chat(WsgiBridge(django, threads=2))(scope, inbox.get, send)
    headers_sent = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    assert len(headers_sent) == len(sent[0]["headers"]), "a header twice"
    return sent[0]["status"], headers_sent, json.loads(b"".join(m.get("body", b"") for m in sent[1:]))


@pytest.mark.parametrize(("query", "headers"), [("wait=20", {}), ("", {"prefer": "respond-async, wait=20"})])
def test_an_answer_in_time_is_in_the_reply(visitor: Caller, query: str, headers: dict[str, str]) -> None:
    miner, key = make_miner()

    async def scenario() -> Any:
        waiting = asyncio.create_task(post(visitor, query, **headers))
        await answer(miner, await take_job(key), "Thirty francs.")
        return await waiting

    status, reply_headers, reply = run(scenario)
    assert (status, reply["status"], reply["response"]) == (200, "completed", "Thirty francs.")
    assert (reply["tool_calls"], reply["citations"]) == (None, [])
    assert reply_headers["preference-applied"] == "wait=20"
    assert [log.role for log in logs_of(reply)] == [Role.USER, Role.ASSISTANT]


def test_an_answer_that_takes_longer_is_still_on_its_way(visitor: Caller) -> None:
    make_miner()

    async def scenario() -> Any:
        return await post(visitor, "wait=1")

    started = time.monotonic()
    status, _, reply = run(scenario)
    assert 1 <= time.monotonic() - started < 6
    assert (status, reply["status"], reply["response"]) == (200, "queued", None)


def test_a_cancelled_question_ends_the_wait(visitor: Caller) -> None:
    make_miner()

    async def scenario() -> Any:
        waiting = asyncio.create_task(post(visitor, "wait=20"))
        _, key = await in_thread(make_miner)()
        offer = await take_job(key)
        await cancel(offer["job_id"])
        return await waiting

    _, _, reply = run(scenario)
    assert (reply["status"], reply["response"]) == ("cancelled", None)


def test_tool_calls_are_in_the_reply(server: Caller) -> None:
    miner, key = make_miner(features=["tools"])
    call = {"id": "call_1", "type": "function", "function": {"name": "get_order", "arguments": "{}"}}
    tool = {"type": "function", "function": {"name": "get_order", "parameters": {}}}

    async def scenario() -> Any:
        waiting = asyncio.create_task(post(server, "wait=20", {"message": "Where is it?", "tools": [tool]}))
        await answer(miner, await take_job(key), "", tool_calls=[call], finish_reason="tool_calls")
        return await waiting

    _, _, reply = run(scenario)
    assert (reply["status"], reply["response"], reply["tool_calls"]) == ("completed", "", [call])
    assert logs_of(reply)[-1].tool_calls == [call]


def test_a_repeat_waits_for_the_same_answer(server: Caller) -> None:
    miner, key = make_miner()

    async def scenario() -> Any:
        both = [asyncio.create_task(post(server, "wait=20", idempotency_key=KEY)) for _ in range(2)]
        await answer(miner, await take_job(key), "Thirty.")
        return await asyncio.gather(*both)

    (_, _, first), (_, _, second) = run(scenario)
    assert first["job_id"] == second["job_id"]
    assert first["response"] == second["response"] == "Thirty."
    assert count_rows() == (1, 2, 1)


@pytest.mark.parametrize("query", ["wait=", "wait=x", "wait=-1", "wait=61", "wait=1.5", "wait=9999"])
def test_a_wait_that_is_none_is_refused_before_anything_is_asked(visitor: Caller, query: str) -> None:
    async def scenario() -> Any:
        return await post(visitor, query)

    status, _, error = run(scenario)
    assert (status, list(error["detail"])) == (400, ["wait"])
    assert count_rows() == (0, 0, 0)


def test_refusals_pass_through_unchanged(visitor: Caller) -> None:
    visitor.key = "mia_pk_" + "x" * 42

    async def scenario() -> Any:
        return await post(visitor, "wait=5")

    status, headers, error = run(scenario)
    assert (status, error["error_code"]) == (401, "NOT_AUTHENTICATED")
    assert "www-authenticate" in headers


def test_without_a_wait_django_answers_alone(visitor: Caller) -> None:
    async def scenario() -> Any:
        return await post(visitor)

    status, headers, reply = run(scenario)
    assert (status, reply["status"]) == (200, "queued")
    assert headers["access-control-allow-origin"] == "https://shop.example"
