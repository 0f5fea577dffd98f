"""What a visitor's stream does while Redis is emptied, down or back, and what it costs while it waits."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from chats.tests.callers import Caller
from chats.tests.streams import answer, http_lane, in_thread, run, stream, take_job, write
from mia.embedded.redis import Redis
from mia.lib.ratelimit import redis_pause
from mia.lib.redis import async_redis
from miners.hub import hub
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db(transaction=True)


def test_while_redis_is_down_the_answer_comes_whole(visitor: Caller, embedded_redis: Redis) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            offer = await take_job(key)
            await in_thread(embedded_redis.crash)()
            await answer(miner, offer, "Thirty francs.")
            assert (await reader.next("delta", timeout_s=8)).data["text"] == "Thirty francs."
            assert (await reader.next("done")).data["status"] == "completed"
            await in_thread(embedded_redis.start)()

    run(scenario)
    redis_pause.end()


def test_a_stream_that_is_opened_while_redis_is_down_is_answered(visitor: Caller, embedded_redis: Redis) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        offer = await take_job(key)
        await in_thread(embedded_redis.crash)()
        async with stream(reply["stream_url"]) as reader:
            await reader.next("started")
            await answer(miner, offer, "Thirty francs.")
            await reader.next("done", timeout_s=8)
            assert reader.text == "Thirty francs."
        await in_thread(embedded_redis.start)()

    run(scenario)
    redis_pause.end()


def test_words_go_on_when_redis_comes_back(visitor: Caller, embedded_redis: Redis) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            offer = await take_job(key)
            await write(key, offer, "Thirty ")
            await reader.next("delta")
            await in_thread(embedded_redis.crash)()
            await asyncio.sleep(0.3)
            await in_thread(embedded_redis.start)()
            async with asyncio.timeout(10):
                while not hub().connected:
                    await asyncio.sleep(0.05)
            await answer(miner, offer, "Thirty francs.")
            await reader.next("done")
            assert reader.text == "Thirty francs."

    run(scenario)
    redis_pause.end()


def test_an_emptied_redis_loses_no_word(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            offer = await take_job(key)
            await write(key, offer, "Thirty ")
            await reader.next("delta")
            await async_redis().flushall()
            await answer(miner, offer, "Thirty francs.")
            await reader.next("done")
            assert reader.text == "Thirty francs."

    run(scenario)


class Client:
    """As little of a client as there can be, so that what is measured is the stream."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.scope = {"type": "http", "method": "GET", "path": parts.path, "query_string": parts.query.encode()}
        self.scope["headers"] = []
        self.left = asyncio.get_running_loop().create_future()
        self.heard = asyncio.get_running_loop().create_future()
        self.is_new = True

    async def receive(self) -> dict[str, Any]:
        if not self.is_new:
            await self.left
            return {"type": "http.disconnect"}
        self.is_new = False
        return {"type": "http.request", "body": b""}

    async def send(self, message: dict[str, Any]) -> None:
        if b"event: queued" in message.get("body", b"") and not self.heard.done():
            self.heard.set_result(None)


@asynccontextmanager
async def waiting_streams(urls: list[str]) -> AsyncIterator[None]:
    clients = [Client(url) for url in urls]
    tasks = [asyncio.create_task(http_lane(client.scope, client.receive, client.send)) for client in clients]
    for client in clients:
        await asyncio.wait_for(client.heard, 10)
    yield
    for client in clients:
        client.left.set_result(None)
    await asyncio.gather(*tasks)


def test_two_hundred_waiting_streams_hold_little_memory_and_no_thread(visitor: Caller) -> None:
    """The whole of a stream but its connection, which costs the server about 8 KB more (benchmarks/streams.py)."""
    urls = []
    for _ in range(10):
        visitor.session_id = None
        urls.append(visitor.asked()["stream_url"])

    async def scenario() -> tuple[float, int]:
        async with waiting_streams(urls):
            gc.collect()
            threads, before = threading.active_count(), tracemalloc.get_traced_memory()[0]
            async with waiting_streams(urls * 19):
                gc.collect()
                held = tracemalloc.get_traced_memory()[0] - before
                return held / len(urls * 19), threading.active_count() - threads

    tracemalloc.start()
    try:
        bytes_per_stream, threads = run(scenario)
    finally:
        tracemalloc.stop()
    assert bytes_per_stream < 15_000
    assert threads == 0
