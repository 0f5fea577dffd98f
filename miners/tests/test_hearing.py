"""No silence is charged to a miner that the platform could not have heard."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from mia.lib.redis import close_async_redis
from miners import hearing
from miners.hearing import SIGN_KEY, Hearing
from miners.limits import HEARD_AGAIN

GRACE_S = HEARD_AGAIN.total_seconds()


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(autouse=True)
def _signed(redis_client: Any) -> Iterator[None]:
    redis_client.set(SIGN_KEY, "1")
    return


def rounds(ears: Hearing, clock: Clock, seconds: float) -> list[bool]:
    """One round a second."""
    said = []
    for _ in range(int(seconds)):
        clock.now += 1
        said.append(ears.listen())
    return said


def test_a_dispatcher_that_starts_gives_miners_time(clock: Clock) -> None:
    assert rounds(Hearing(clock), clock, GRACE_S) == [False] * (int(GRACE_S) - 1) + [True]


def test_while_no_web_process_listens_nobody_is_charged(clock: Clock, redis_client: Any) -> None:
    ears = Hearing(clock)
    rounds(ears, clock, GRACE_S)
    redis_client.delete(SIGN_KEY)
    assert not any(rounds(ears, clock, 30))
    redis_client.set(SIGN_KEY, "1")
    assert rounds(ears, clock, GRACE_S)[-2:] == [False, True]


def test_after_postgresql_was_away_miners_have_time_to_be_heard(clock: Clock) -> None:
    ears = Hearing(clock)
    rounds(ears, clock, GRACE_S)
    ears.note_outage()
    assert not any(rounds(ears, clock, GRACE_S - 1))


def test_a_dispatcher_that_was_held_up_does_not_count_that_time(clock: Clock) -> None:
    ears = Hearing(clock)
    rounds(ears, clock, GRACE_S)
    clock.now += 60
    assert not ears.listen()


def test_without_redis_silence_counts_as_always(clock: Clock, embedded_redis: Any) -> None:
    ears = Hearing(clock)
    rounds(ears, clock, GRACE_S)
    embedded_redis.crash()
    assert all(rounds(ears, clock, 3))


def test_a_sign_fades_within_three_seconds(redis_client: Any) -> None:
    async def scenario() -> None:
        await hearing.sign()
        await close_async_redis()

    asyncio.run(scenario())
    assert 2000 < redis_client.pttl(SIGN_KEY) <= 3000
