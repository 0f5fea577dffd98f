"""The hand-off: hundreds of parked polls, one claim per wake-up, and nothing lost when a waiter vanishes."""

import asyncio
import time
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from mia.lib.drain import Drain
from mia.lib.redis import async_redis
from miners import handoff as handoff_module
from miners.choices import JobState, Trust
from miners.choices import Lane as JobLane
from miners.handoff import CLAIMS_KEY, HandOff, handoff
from miners.matching import Seat
from miners.models import Miner
from miners.profiles import authenticate
from miners.services import cancel_job
from miners.tests.factories import make_job, make_miner, reload
from miners.tests.fence_simulator import open_session
from miners.tests.lane import Lane, run

pytestmark = pytest.mark.django_db(transaction=True)

submit = database_sync_to_async(make_job)
look = database_sync_to_async(reload)


async def seat_of(key: str, slots: int = 1) -> Seat:
    return Seat(await authenticate(key), slots=slots, idle=True)


def test_three_hundred_parked_miners_cost_about_one_claim_per_job() -> None:
    keys = [make_miner()[1] for _ in range(300)]
    jobs = 40

    async def scenario() -> None:
        seats = [await seat_of(key) for key in keys]
        polls = [asyncio.create_task(handoff().wait(seat, 30)) for seat in seats]
        await asyncio.sleep(1.5)
        await async_redis().delete(CLAIMS_KEY)
        slowest = 0.0
        for _ in range(jobs):
            started = time.monotonic()
            await submit()
            await asyncio.wait(polls, return_when=asyncio.FIRST_COMPLETED)
            slowest = max(slowest, time.monotonic() - started)
            polls = [poll for poll in polls if not poll.done()]
        assert len(polls) == 300 - jobs
        assert slowest < 2, "the fallback had to help"
        await asyncio.sleep(1.2)
        claims = int(await async_redis().get(CLAIMS_KEY) or 0)
        assert claims <= jobs * 1.1 + 6, "one claim per job, and one per second of fallback"
        handoff().release_all()
        await asyncio.gather(*polls)

    run(scenario)


def test_a_batch_is_claimed_in_one_go_and_every_waiter_gets_its_own() -> None:
    keys = [make_miner()[1] for _ in range(10)]
    jobs = [str(make_job().pk) for _ in range(10)]

    async def scenario() -> None:
        replies = await asyncio.gather(*[Lane(key).next(wait=10) for key in keys])
        assert sorted(offer["job_id"] for offers in replies for offer in offers) == sorted(jobs)

    run(scenario)


def test_the_offers_of_a_waiter_that_vanished_are_queued_again_at_once() -> None:
    """The client leaves while its claim is under way: here the claim waits for a lock on the miner's row."""
    miner, key = make_miner()
    job = make_job()

    async def scenario() -> None:
        with open_session() as rival:
            rival.execute("BEGIN")
            rival.execute("SELECT 1 FROM miners_miner WHERE id = %s FOR UPDATE", [miner.pk])
            poll = asyncio.create_task(handoff().wait(await seat_of(key), 30))
            await asyncio.sleep(0.3)
            poll.cancel()
            await asyncio.gather(poll, return_exceptions=True)
            rival.execute("ROLLBACK")
        until = time.monotonic() + 4
        while not (taken_back := (await look(job)).attempt_count == 1 and (await look(job)).state == JobState.QUEUED):
            assert time.monotonic() < until
            await asyncio.sleep(0.02)
        assert taken_back

    run(scenario)


def test_a_vanished_waiters_job_reaches_the_next_one() -> None:
    _, gone = make_miner()
    _, there = make_miner()
    job = make_job()

    async def scenario() -> None:
        parked = asyncio.create_task(handoff().wait(await seat_of(gone), 30))
        await asyncio.sleep(0)
        parked.cancel()
        (offer,) = await Lane(there).next(wait=8)
        assert offer["job_id"] == str(job.pk)

    run(scenario)


def test_a_lost_wake_up_costs_a_second(redis_client: Any, embedded_redis: Any) -> None:
    _, key = make_miner()

    async def scenario() -> float:
        poll = asyncio.create_task(handoff().wait(await seat_of(key), 20))
        await asyncio.sleep(0.3)
        await asyncio.to_thread(embedded_redis.crash)
        started = time.monotonic()
        await submit()
        handed = await poll
        assert len(handed.offers) == 1
        return time.monotonic() - started

    assert run(scenario) < 4


def test_a_cancellation_answers_the_poll_of_the_miner_that_works_on_it() -> None:
    _, key = make_miner()
    job = make_job()

    async def scenario() -> None:
        (offer,) = await Lane(key).next()
        await Lane(key).beat((offer["job_id"], offer["fence"], "prefill"))
        poll = asyncio.create_task(Lane(key).get("/job/next", "wait=20"))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        held = await look(job)
        await database_sync_to_async(cancel_job)(job=held, now=timezone.now())
        reply = (await poll).data
        assert reply["cancel"] == [str(job.pk)]
        assert time.monotonic() - started < 1

    run(scenario)


@pytest.mark.parametrize(
    "change",
    [
        {"trust": Trust.SUSPECT},
        {"trust": Trust.BANNED},
        {"drain_requested": True},
        {"pause_requested": True},
        {"max_slots": 1},
    ],
)
def test_a_poll_parked_before_its_miner_was_restricted_gets_nothing_more(change: dict[str, Any]) -> None:
    """It has to ask again; the job goes to somebody else at once."""
    parked, key = make_miner()
    _, other_key = make_miner()

    async def scenario() -> None:
        first = asyncio.create_task(handoff().wait(await seat_of(key, slots=2), 20))
        await asyncio.sleep(0.1)
        second = asyncio.create_task(handoff().wait(await seat_of(other_key), 20))
        await asyncio.sleep(0.1)
        await database_sync_to_async(Miner.objects.filter(pk=parked.pk).update)(**change)
        started = time.monotonic()
        job = await submit()
        assert [offer["id"] for offer in (await second).offers] == [job.pk]
        assert (await first).offers == ()
        assert time.monotonic() - started < 0.8

    run(scenario)


def test_a_draining_process_lets_every_poll_go() -> None:
    _, key = make_miner()

    async def scenario() -> None:
        own = Drain()
        waiting = HandOff()
        own.subscribe(waiting.release_all)
        poll = asyncio.create_task(waiting.wait(await seat_of(key), 30))
        await asyncio.sleep(0.2)
        own.begin()
        assert (await asyncio.wait_for(poll, 1)).offers == ()
        await waiting.close()

    run(scenario)


def test_idle_jobs_wait_while_customers_do() -> None:
    _, key = make_miner()
    make_job(kind="idle", lane=JobLane.IDLE)

    async def scenario() -> list[str]:
        chat = await submit()
        (offer,) = await Lane(key).next(wait=5)
        assert offer["job_id"] == str(chat.pk)
        return [offer["kind"] for offer in await Lane(key).next(wait=5)]

    assert run(scenario) == ["idle"]


def test_the_loop_is_started_again_after_it_died() -> None:
    _, key = make_miner()

    async def scenario() -> None:
        first = handoff()
        await first.wait(await seat_of(key), 0)
        for task in first._tasks:
            task.cancel()
        await asyncio.sleep(0.05)
        await submit()
        assert len((await first.wait(await seat_of(key), 10)).offers) == 1
        assert handoff_module.handoff() is first

    run(scenario)
