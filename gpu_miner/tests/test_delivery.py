"""Streaming: flushes, rewinds, lost requests, and platforms that say no."""

import random
import threading
import time

import pytest

from gpu_miner.delivery import MAX_CHUNK_CHARS, MAX_REQUEST_CHARS
from gpu_miner.engines.scripted import Act
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault

WORDS = "".join(f"mot{number}é 🚲 " for number in range(120))
SLOW = Act(text=WORDS, delay_ms=4)


def test_the_first_words_do_not_wait_for_the_flush(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["flush_ms"] = 4000
    start_miner(Act(text="first " + "later " * 400, delay_ms=10))
    job = platform.ask("hello")
    platform.wait(lambda: job.text, timeout_s=2)
    assert job.chunk_posts == 1


def test_later_words_come_once_per_flush(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["flush_ms"] = 200
    start_miner(Act(text="word " * 100, delay_ms=10))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    assert job.chunk_posts <= 12


def test_a_platform_that_forgot_gets_the_text_again(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(SLOW)
    job = platform.ask("hello")
    for keep in (40, 7, 0, 100):
        platform.wait(lambda: len(job.text) > 120)
        with platform.lock:
            job.text = job.text[:keep]
    platform.wait(lambda: job.state == "completed")
    assert job.text == WORDS


def test_the_text_arrives_byte_for_byte_whatever_happens(platform: FakePlatform, start_miner: MinerStarter) -> None:
    """Lost requests, lost replies, errors and forgetting, at random but the same each time."""
    chance = random.Random(7)
    faults = [Fault(lose="request"), Fault(lose="reply"), Fault(status=503), Fault(status=500), Fault(raw=b"<html>")]
    platform.fail("/job/chunks", *[chance.choice([*faults, Fault(), Fault()]) for _ in range(40)])
    start_miner(SLOW, slots=3)
    jobs = [platform.ask(f"q{number}") for number in range(3)]
    forgetting = threading.Thread(target=_forget_now_and_then, args=(platform, chance))
    forgetting.start()
    platform.wait(lambda: all(job.state == "completed" for job in jobs), timeout_s=25)
    forgetting.join()
    for job in jobs:
        assert job.result is not None
        assert job.result["output"].encode() == WORDS.encode()
        assert WORDS.startswith(job.text)


def _forget_now_and_then(platform: FakePlatform, chance: random.Random) -> None:
    for _ in range(15):
        time.sleep(0.03)
        with platform.lock:
            for job in platform.jobs.values():
                if job.state == "running":
                    job.text = job.text[: chance.randrange(len(job.text) + 1)]


def test_the_last_words_come_before_the_result(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["flush_ms"] = 3000
    start_miner(Act(text="a few words only", delay_ms=1))
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed", timeout_s=2.5)
    assert job.text == "a few words only"


def test_a_silent_verdict_is_no_confirmation(platform: FakePlatform, start_miner: MinerStarter) -> None:
    start_miner(SLOW)
    job = platform.ask("hello")
    job.mute = True
    platform.wait(lambda: job.chunk_posts > 3)
    with platform.lock:
        job.mute = False
    platform.wait(lambda: job.state == "completed")
    assert job.text == WORDS


def test_one_chunk_that_is_rejected_silences_only_its_own_job(
    platform: FakePlatform, start_miner: MinerStarter, caplog: pytest.LogCaptureFixture
) -> None:
    start_miner(Act(match="poison", text="bad " * 60, delay_ms=5), SLOW, slots=2)
    poison, healthy = platform.ask("poison"), platform.ask("hello")
    platform.wait(lambda: poison.text and healthy.text)
    refusal = Fault(status=400, body={"detail": "no", "error_code": "INVALID_REQUEST"})
    with platform.lock:
        order = [entry["job_id"] for entry in platform.bodies("/job/chunks")[-1]["jobs"]]
        platform.fail(
            "/job/chunks", refusal, *([refusal, Fault()] if order[0] == poison.job_id else [Fault(), refusal])
        )
    platform.wait(lambda: poison.state == healthy.state == "completed")
    assert healthy.text == WORDS
    assert poison.result is not None
    assert poison.result["output"] == "bad " * 60
    assert "streams no more" in caplog.text


def test_a_long_text_is_sent_in_requests_the_platform_takes(platform: FakePlatform, start_miner: MinerStarter) -> None:
    act = Act(text="x" * (MAX_CHUNK_CHARS * 3 + 5), delay_ms=1)
    start_miner(act, slots=2)
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    assert job.text == act.text
    assert all(
        len(chunk["text"]) <= MAX_CHUNK_CHARS for body in platform.bodies("/job/chunks") for chunk in body["jobs"]
    )
    assert MAX_REQUEST_CHARS * 4 < 1024 * 1024


def test_a_job_that_is_lost_by_its_chunks_is_given_up(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.config["heartbeat_ms"] = 5000
    supervisor = start_miner(Act(text="word " * 500, delay_ms=5))
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    job.verdict = "lost"
    platform.wait(lambda: supervisor.miner.jobs.slots_used == 0, timeout_s=2)
    assert job.results_seen == 0


def test_the_platform_can_ask_for_fewer_flushes(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(SLOW)
    platform.config["flush_ms"] = 777
    job = platform.ask("hello")
    platform.wait(lambda: job.text)
    platform.wait(lambda: supervisor.miner.config.flush_ms == 777)
