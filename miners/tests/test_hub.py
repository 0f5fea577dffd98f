"""One subscription feeds many listeners, notes what it may have missed, and outlives its Redis."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from mia.lib.redis import async_redis, close_async_redis
from miners.hub import INBOX_SIZE, Inbox, close_hub, hub
from miners.streams import TOPIC_PREFIX, publish


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    async def inside() -> Any:
        try:
            return await asyncio.wait_for(scenario(), 30)
        finally:
            await close_hub()
            await close_async_redis()

    return asyncio.run(inside())


@asynccontextmanager
async def listening(topic: str) -> AsyncIterator[Inbox]:
    """An inbox whose subscription stands: the gap of the first connection is over."""
    async with hub().listen(topic) as inbox:
        await until(lambda: hub().connected)
        inbox.clear_gap()
        yield inbox


async def until(condition: Callable[[], bool], seconds: float = 10) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < give_up_at, "it never came true"
        await asyncio.sleep(0.02)


async def tell(topic: str, number: int) -> None:
    await asyncio.to_thread(publish, topic, {"number": number})


def test_every_listener_of_a_topic_hears_it_and_nobody_else() -> None:
    async def scenario() -> None:
        async with listening("a") as first, listening("a") as second, listening("b") as other:
            await tell("a", 1)
            assert await first.get(2) == await second.get(2) == {"number": 1}
            assert await other.get(0.1) is None

    run(scenario)


def test_a_listener_starts_with_a_gap_since_it_cannot_know_what_it_missed() -> None:
    async def scenario() -> bool:
        async with hub().listen("a") as inbox:
            await until(lambda: hub().connected)
            return inbox.has_gap

    assert run(scenario) is True


def test_who_left_hears_nothing_and_costs_nothing() -> None:
    async def scenario() -> None:
        async with listening("a"):
            async with listening("b"):
                pass
            await asyncio.sleep(0.1)
            assert dict(await async_redis().pubsub_numsub(TOPIC_PREFIX + "a", TOPIC_PREFIX + "b")) == {
                TOPIC_PREFIX + "a": 1,
                TOPIC_PREFIX + "b": 0,
            }

    run(scenario)


def test_a_topic_can_be_left_and_joined_again() -> None:
    async def scenario() -> None:
        async with listening("a"):
            for number in range(5):
                async with listening("b") as inbox:
                    await tell("b", number)
                    assert await inbox.get(2) == {"number": number}

    run(scenario)


def test_a_slow_listener_loses_its_place_and_nobody_elses() -> None:
    async def scenario() -> None:
        async with listening("a") as slow, listening("a") as quick:
            for number in range(INBOX_SIZE + 5):
                await tell("a", number)
                assert await quick.get(2) == {"number": number}
            assert slow.has_gap
            assert await slow.get(1) is None
            slow.clear_gap()
            await tell("a", 99)
            assert await slow.get(2) == {"number": 99}

    run(scenario)


def test_a_killed_redis_leaves_a_gap_and_the_subscription_comes_back(embedded_redis: Any) -> None:
    async def scenario() -> None:
        async with listening("a") as inbox:
            embedded_redis.crash()
            await until(lambda: not hub().connected)
            assert inbox.has_gap
            await asyncio.to_thread(embedded_redis.start)
            await until(lambda: hub().connected)
            inbox.clear_gap()
            await tell("a", 7)
            assert await inbox.get(2) == {"number": 7}

    run(scenario)


def test_listening_begins_while_redis_is_away(embedded_redis: Any) -> None:
    embedded_redis.crash()

    async def scenario() -> None:
        async with hub().listen("a") as inbox:
            await asyncio.sleep(0.6)
            assert not hub().connected
            await asyncio.to_thread(embedded_redis.start)
            await until(lambda: hub().connected)
            inbox.clear_gap()
            await tell("a", 1)
            assert await inbox.get(2) == {"number": 1}

    run(scenario)


def test_waiting_ends_with_the_time_or_with_a_gap() -> None:
    async def scenario() -> None:
        inbox = Inbox()
        assert await inbox.get(0.05) is None
        waiting = asyncio.create_task(inbox.get(10))
        await asyncio.sleep(0)
        inbox.note_gap()
        assert await asyncio.wait_for(waiting, 1) is None

    run(scenario)
