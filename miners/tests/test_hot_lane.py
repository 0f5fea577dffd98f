"""The miner protocol on the hot lane: polls, acknowledgements, renewals, streamed text."""

import asyncio
import time

import pytest
from channels.db import database_sync_to_async

from miners.choices import JobState, Trust
from miners.choices import Lane as JobLane
from miners.streams import read_text
from miners.tests.factories import make_job, make_miner, reload
from miners.tests.lane import Lane, call, run

pytestmark = pytest.mark.django_db(transaction=True)

submit = database_sync_to_async(make_job)
look = database_sync_to_async(reload)


def test_a_parked_poll_is_answered_as_soon_as_a_job_is_submitted() -> None:
    _, key = make_miner()

    async def scenario() -> None:
        poll = asyncio.create_task(Lane(key).next(wait=10))
        await asyncio.sleep(0.3)
        started = time.monotonic()
        job = await submit()
        (offer,) = await poll
        assert offer["job_id"] == str(job.pk)
        assert time.monotonic() - started < 0.5
        assert (await look(job)).state == JobState.OFFERED

    run(scenario)


def test_the_first_heartbeat_acknowledges_an_offer() -> None:
    _, key = make_miner()
    job = make_job()

    async def scenario() -> None:
        (offer,) = await Lane(key).next()
        assert await Lane(key).beat((offer["job_id"], offer["fence"], "prefill")) == ["ok"]

    run(scenario)
    assert reload(job).state == JobState.RUNNING


def test_streamed_text_is_logged_and_ranges_are_mended() -> None:
    _, key = make_miner()
    job = make_job()

    async def scenario() -> None:
        (offer,) = await Lane(key).next()
        assert (await Lane(key).chunk(offer, 0, "Dein Paket "))["verdict"] == "ok"
        assert await Lane(key).chunk(offer, 5, "kommt") == {
            "job_id": str(job.pk),
            "verdict": "range",
            "next_offset": 11,
        }
        assert (await Lane(key).chunk(offer, 11, "kommt 📦."))["next_offset"] == 19

    run(scenario)
    assert read_text(job.pk) == "Dein Paket kommt 📦."
    assert reload(job).state == JobState.RUNNING


def test_a_forged_fence_is_lost() -> None:
    _, key = make_miner()
    _, other_key = make_miner()
    make_job()

    async def scenario() -> None:
        (offer,) = await Lane(key).next()
        assert await Lane(other_key).beat((offer["job_id"], offer["fence"], "prefill")) == ["lost"]
        assert (await Lane(other_key).chunk(offer, 0, "mine"))["verdict"] == "lost"

    run(scenario)


def test_the_same_poll_gets_the_same_offer_again() -> None:
    _, key = make_miner()
    make_job()

    async def scenario() -> None:
        first = await Lane(key).next(x_mia_poll="a1")
        again = await Lane(key).next(x_mia_poll="a1")
        assert [offer["fence"] for offer in again] == [offer["fence"] for offer in first]
        assert await Lane(key).next(x_mia_poll="a2") == []

    run(scenario)


def test_chat_goes_before_api_and_api_before_idle() -> None:
    _, key = make_miner()
    idle = make_job(lane=JobLane.IDLE, kind="idle", min_trust=Trust.PROBATION)
    api = make_job(lane=JobLane.API, kind="api")
    chat = make_job()

    async def scenario() -> list[str]:
        return [offer["job_id"] for _ in range(3) for offer in await Lane(key).next()]

    assert run(scenario) == [str(chat.pk), str(api.pk), str(idle.pk)]


def test_an_empty_poll_says_why_jobs_were_skipped() -> None:
    _, key = make_miner()
    make_job(model="qwen2.5-7b")
    make_job(min_trust=Trust.TRUSTED)

    async def scenario() -> dict[str, int]:
        return (await Lane(key).get("/job/next", "wait=0.2")).data["skipped"]

    assert run(scenario) == {"model": 1, "trust": 1}


def test_no_key_no_work() -> None:
    async def scenario() -> list[int]:
        return [
            (await call("/job/next", "GET", b"", "wait=0", {})).status,
            (await Lane("mia_mk_" + "0" * 42).get("/job/next")).status,
            (await Lane("mia_mk_" + "0" * 42).post("/heartbeat", {})).status,
            (await Lane("mia_mk_" + "0" * 42).post("/job/chunks", {"jobs": []})).status,
        ]

    assert run(scenario) == [401, 401, 401, 401]
