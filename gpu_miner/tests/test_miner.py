"""What the threads of a miner share."""

from dataclasses import replace
from pathlib import Path

import pytest

from gpu_miner.config import Settings
from gpu_miner.engines.scripted import ScriptedEngine
from gpu_miner.errors import EngineHung, NameTaken
from gpu_miner.jobs import Job
from gpu_miner.miner import FAILURES_UNTIL_REST, Miner
from gpu_miner.pauses import Pause
from gpu_miner.protocol import Offer, Orders


@pytest.fixture
def miner(tmp_path: Path) -> Miner:
    return Miner(Settings("http://127.0.0.1:9", "m1", slots=4, state_dir=tmp_path), ScriptedEngine(slots=3))


def with_job(miner: Miner, fence: str = "1") -> Job:
    job = Job(Offer(f"job-{fence}", fence), on_first_text=miner.flush_due.set)
    miner.jobs.add(job)
    return job


def test_slots_are_the_least_that_anybody_allows(miner: Miner) -> None:
    assert miner.slots == 3
    miner.adopt_config({"max_slots": 2})
    assert (miner.slots, miner.slots_free) == (2, 2)
    with_job(miner)
    assert miner.slots_free == 1


def test_one_job_at_a_time_when_one_is_all(miner: Miner) -> None:
    miner.settings = replace(miner.settings, once=True)
    assert miner.slots == 1


def test_the_status_follows_the_work(miner: Miner) -> None:
    assert miner.status == "idle"
    with_job(miner)
    assert miner.status == "busy"
    miner.drain()
    assert (miner.status, miner.slots_free) == ("draining", 0)


def test_a_drain_of_the_platform_ends_when_it_says_so(miner: Miner) -> None:
    miner.obey(Orders(drain=True))
    assert miner.is_draining
    miner.obey(Orders())
    assert miner.is_draining
    miner.obey(Orders(drain=False))
    assert not miner.is_draining


def test_a_drain_of_the_operator_is_not_ended_by_the_platform(miner: Miner) -> None:
    miner.drain()
    miner.obey(Orders(drain=False))
    assert miner.is_draining


def test_a_pause_takes_no_jobs_until_every_reason_is_gone(miner: Miner) -> None:
    miner.pause(Pause.HOT, on=True)
    miner.obey(Orders(pause=True))
    assert (miner.status, miner.slots_free, miner.slots_for_customers) == ("paused", 0, 0)
    miner.pause(Pause.HOT, on=False)
    assert str(miner.pauses) == "paused by the platform's staff"
    miner.obey(Orders())
    assert miner.is_paused
    miner.obey(Orders(pause=False))
    assert (miner.status, miner.slots_free) == ("idle", 3)


def test_idle_jobs_leave_their_slots_to_customers(miner: Miner) -> None:
    for fence in "123":
        miner.jobs.add(Job(Offer(f"job-{fence}", fence, kind="idle"), on_first_text=miner.flush_due.set))
    assert (miner.slots_free, miner.slots_for_customers) == (0, 3)
    miner.settings = replace(miner.settings, idle_only=True)
    assert miner.slots_for_customers == 0


def test_an_engine_without_room_is_asked_for_no_customer(miner: Miner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(miner.engine, "room", lambda: 0)
    assert (miner.slots_free, miner.slots_for_customers) == (0, 0)


def test_three_failures_in_a_row_are_a_rest(miner: Miner) -> None:
    for _ in range(FAILURES_UNTIL_REST - 1):
        miner.engine_failed()
    miner.engine_worked()
    miner.engine_failed()
    assert not miner.is_resting
    for _ in range(FAILURES_UNTIL_REST - 1):
        miner.engine_failed()
    assert miner.is_resting
    assert (miner.slots_free, miner.status) == (0, "paused")


def test_after_a_rest_one_job_is_the_probe(miner: Miner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpu_miner.miner.REST_FIRST_S", 0.0)
    for _ in range(FAILURES_UNTIL_REST):
        miner.engine_failed()
    assert miner.slots_free == 1
    with_job(miner)
    assert miner.slots_free == 0
    miner.engine_worked()
    assert miner.slots_free == 2


def test_the_first_failure_is_the_one_reported(miner: Miner) -> None:
    miner.fail(NameTaken("first"))
    miner.fail(EngineHung("second"))
    assert isinstance(miner.failure, NameTaken)
    assert miner.stopping.is_set()


def test_stopping_ends_every_job(miner: Miner) -> None:
    job = with_job(miner)
    miner.stop()
    assert job.cancelled


def test_a_situation_counts_what_runs(miner: Miner) -> None:
    with_job(miner)
    miner.state = "online"
    situation = miner.situation({"memory_used_mb": 1, "utilization": 2, "temperature": 61})
    assert (situation.state, situation.running, situation.slots) == ("busy", 1, 3)
    assert "61 °C" in str(situation)
    miner.state = "reconnecting"
    assert miner.situation(None).state == "reconnecting"
