"""Long polls: repeated after lost replies, backed off, never more than the free slots."""

import time

from gpu_miner.engines.scripted import Act
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault

HELLO = Act(text="Good morning", delay_ms=1)


def poll_ids(platform: FakePlatform) -> list[str]:
    return [headers["X-MIA-Poll"] for headers in platform.headers("/job/next")]


def test_a_lost_reply_is_asked_for_again_by_its_id(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/next", Fault(lose="reply"))
    job = platform.ask("hello")
    start_miner(HELLO)
    platform.wait(lambda: job.state == "completed")
    first, second = poll_ids(platform)[:2]
    assert first == second
    assert len(platform.bodies("/job/result")) == 1


def test_each_answered_poll_gets_a_new_id(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(HELLO)
    jobs = [platform.ask(f"q{number}") for number in range(4)]
    platform.wait(lambda: all(job.state == "completed" for job in jobs))
    ids = poll_ids(platform)
    assert len(set(ids)) == len(ids)


def test_a_repeated_offer_is_served_once(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="word " * 20, delay_ms=10))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "running")
    platform.set(news={"jobs": [job.offer]})
    platform.wait(lambda: len(poll_ids(platform)) > 4)
    platform.set(news={})
    platform.wait(lambda: job.state == "completed")
    assert job.results_seen == 1


def test_a_new_attempt_at_the_same_job_replaces_the_old_one(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="word " * 30, delay_ms=10), slots=3)
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    with platform.changed:
        job.fence, job.text, job.first_chunk_offset = "999", "", None
        job.offer = {**job.offer, "fence": "999", "attempt": 2}
        job.state = "queued"
    platform.wait(lambda: job.state == "completed")
    assert job.result is not None
    assert (job.result["fence"], job.result["attempt"], job.results_seen) == ("999", 2, 1)


def test_the_miner_comes_back_when_the_platform_does(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/next", *[Fault(status=502, raw=b"bad gateway")] * 3, Fault(lose="request"))
    job = platform.ask("hello")
    supervisor = start_miner(HELLO)
    platform.wait(lambda: job.state == "completed")
    platform.wait(lambda: supervisor.miner.state == "online")
    assert len(set(poll_ids(platform)[:5])) == 1


def test_the_poll_asks_for_the_free_slots_and_says_so(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(Act(text="word " * 60, delay_ms=10), slots=3, idle=False)
    platform.ask("hello")
    platform.wait(lambda: any(body["slots"] == "2" for body in platform.bodies("/job/next")))
    first = platform.bodies("/job/next")[0]
    assert (first["slots"], first["idle"], first["miner_id"]) == ("3", "0", "1")


def test_a_platform_that_does_not_hold_polls_is_not_hammered(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["poll_wait_ms"] = 0
    start_miner(HELLO)
    platform.wait(lambda: platform.bodies("/job/next"))
    time.sleep(1.2)
    assert len(platform.bodies("/job/next")) <= 3


def test_offers_beyond_the_slots_are_left_to_others(platform: FakePlatform, start_miner: MinerStarter) -> None:
    jobs = [platform.ask(f"q{number}") for number in range(3)]
    for job in jobs:
        job.state = "offered"
    platform.set(news={"jobs": [job.offer for job in jobs]})
    start_miner(Act(text="word " * 40, delay_ms=10), slots=1)
    platform.wait(lambda: sum(job.state == "running" for job in jobs) == 1)
    platform.set(news={})
    assert sum(bool(job.phases) for job in jobs) == 1


def test_an_offer_the_engine_does_not_admit_is_never_acknowledged(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    start_miner(Act(match="leave me", fault="never_ack"), HELLO)
    left, taken = platform.ask("leave me"), platform.ask("hello")
    platform.wait(lambda: taken.state == "completed")
    assert (left.state, left.phases) == ("offered", [])


def test_messages_of_the_platform_are_shown_once(
    platform: FakePlatform, start_miner: MinerStarter, caplog: object
) -> None:
    caplog.set_level("INFO")  # type: ignore[attr-defined]
    platform.news = {"messages": ["please update", {"text": "thank you"}]}
    start_miner(HELLO)
    platform.wait(lambda: len(platform.bodies("/job/next")) > 2)
    text: str = caplog.text  # type: ignore[attr-defined]
    assert text.count("please update") == text.count("thank you") == 1
