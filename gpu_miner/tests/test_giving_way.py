"""Idle jobs make room: for customers at once, and for the owner of the machine."""

import pytest

from gpu_miner.engines.scripted import Act
from gpu_miner.pauses import Pause
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakeJob, FakePlatform, Fault

LONG = Act(match="long", text="word " * 500, delay_ms=10)
SHORT = Act(text="Good morning", delay_ms=1)


def running(platform: FakePlatform, *jobs: FakeJob) -> None:
    platform.wait(lambda: all(job.text for job in jobs))


def test_a_customer_takes_the_slot_of_the_youngest_idle_job(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(LONG, SHORT, slots=2)
    older = platform.ask("long", kind="idle")
    running(platform, older)
    younger = platform.ask("long", kind="idle")
    running(platform, younger)
    customer = platform.ask("hello")
    platform.wait(lambda: customer.state == "completed")
    assert (older.handed_back, younger.handed_back) == ([], ["gave_way"])
    assert older.state == "running"


def test_an_idle_job_that_gave_way_goes_on_when_the_slot_is_free(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    start_miner(Act(match="short idle", text="word " * 60, delay_ms=5), SHORT, slots=1)
    idle = platform.ask("short idle", kind="idle")
    running(platform, idle)
    customer = platform.ask("hello")
    with platform.changed:
        idle.first_chunk_offset = None
    platform.wait(lambda: customer.state == "completed" and idle.handed_back)
    with platform.changed:
        idle.text, idle.first_chunk_offset = "", None
    platform.wait(lambda: idle.state == "completed")
    assert idle.result is not None
    assert idle.result["attempt"] == 2


def test_a_full_house_of_customers_gives_way_to_nobody(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(LONG, slots=1)
    first = platform.ask("long")
    running(platform, first)
    assert supervisor.miner.slots_for_customers == 0
    polls = len(platform.bodies("/job/next"))
    platform.wait(lambda: len(first.phases) > 5)
    assert len(platform.bodies("/job/next")) == polls


def test_an_idle_job_is_no_reason_to_give_way(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(LONG, slots=1)
    first = platform.ask("long", kind="idle")
    running(platform, first)
    platform.set(news={"jobs": [platform.ask("long", kind="idle").offer]})
    platform.wait(lambda: len(platform.bodies("/job/next")) > 3)
    assert first.handed_back == []


@pytest.mark.parametrize("fault", [Fault(lose="request"), Fault(status=503)])
def test_a_job_is_handed_back_again_when_the_platform_did_not_hear(
    platform: FakePlatform, start_miner: MinerStarter, fault: Fault
) -> None:
    supervisor = start_miner(LONG, slots=1)
    idle = platform.ask("long", kind="idle")
    running(platform, idle)
    platform.fail("/job/result", fault)
    supervisor.miner.pause(Pause.HOURS, on=True)
    platform.wait(lambda: idle.handed_back == ["gave_way"])


def test_a_pause_hands_idle_jobs_back_and_finishes_customers(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(LONG, Act(match="customer", text="word " * 40, delay_ms=10), slots=2)
    idle, customer = platform.ask("long", kind="idle"), platform.ask("customer")
    running(platform, idle, customer)
    platform.set(heartbeat_news={"pause": True})
    platform.wait(lambda: customer.state == "completed" and idle.handed_back)
    later = platform.ask("hello")
    platform.wait(lambda: platform.statuses[-3:] == ["paused"] * 3)
    assert later.state == "queued"
    platform.set(heartbeat_news={"pause": False})
    platform.wait(lambda: later.state == "completed")
    assert supervisor.failure is None
