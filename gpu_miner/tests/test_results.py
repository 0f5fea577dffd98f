"""Handing in results: what is tried again, and what is dropped."""

from dataclasses import replace

import pytest

from gpu_miner.backoff import Patience, result_waits
from gpu_miner.engines.scripted import Act
from gpu_miner.errors import Refused
from gpu_miner.tests.conftest import QUICK, MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault

HELLO = Act(text="Good morning", delay_ms=1)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=503),
        Fault(status=500),
        Fault(status=429, headers={"Retry-After": "0"}),
        Fault(lose="request"),
        Fault(raw=b"<html>bad gateway</html>"),
    ],
    ids=["503", "500", "429", "cut", "not json"],
)
def test_a_result_is_sent_until_the_platform_has_it(
    platform: FakePlatform, start_miner: MinerStarter, fault: Fault
) -> None:
    platform.fail("/job/result", *[fault] * 5)
    start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    platform.wait(lambda: len(platform.bodies("/job/result")) == 6)
    assert job.result is not None
    assert job.result["output"] == "Good morning"


def test_a_lost_reply_means_the_result_is_sent_twice_and_counted_once(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    platform.fail("/job/result", Fault(lose="reply"))
    supervisor = start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: job.results_seen == 2)
    platform.wait(lambda: supervisor.miner.tally.done == 1)
    assert platform.bodies("/job/result")[0] == platform.bodies("/job/result")[1]


def test_after_twelve_tries_the_result_is_dropped(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/result", *[Fault(status=503)] * 40)
    supervisor = start_miner(HELLO)
    platform.ask("hello")
    platform.wait(lambda: supervisor.miner.tally.dropped == 1)
    assert len(platform.bodies("/job/result")) == 12


def test_twelve_tries_take_about_ten_minutes() -> None:
    waits = result_waits(Patience())
    assert len(waits) == 11
    assert 8 * 60 < sum(waits) < 13 * 60


@pytest.mark.parametrize("status", [400, 403, 404, 409, 410, 413, 422])
def test_a_final_no_is_not_argued_with(platform: FakePlatform, start_miner: MinerStarter, status: int) -> None:
    platform.fail("/job/result", Fault(status=status, body={"detail": "no", "error_code": "NO"}))
    supervisor = start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: supervisor.miner.tally.dropped == 1)
    assert len(platform.bodies("/job/result")) == 1
    assert job.state == "running"
    assert supervisor.failure is None


def test_a_damaged_result_is_sent_whole_again(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/result", Fault(status=412, body={"detail": "damaged", "error_code": "CHECKSUM_MISMATCH"}))
    start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: job.state == "completed")
    again = platform.bodies("/job/chunks")[-1]["jobs"][0]
    assert (again["offset"], again["text"]) == (0, "Good morning")
    assert len(platform.bodies("/job/result")) == 2


def test_retry_after_is_the_least_wait(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/result", Fault(status=503, headers={"Retry-After": "1"}))
    supervisor = start_miner(HELLO)
    platform.ask("hello")
    platform.wait(lambda: platform.bodies("/job/result"))
    assert not supervisor.wait(0.6)
    assert len(platform.bodies("/job/result")) == 1
    platform.wait(lambda: len(platform.bodies("/job/result")) == 2)


def test_a_lease_lost_while_the_result_waits_is_decided_by_the_result(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    platform.fail("/job/result", *[Fault(status=503)] * 6)
    start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: platform.bodies("/job/result"))
    job.verdict = "lost"
    platform.wait(lambda: job.state == "completed")


def test_a_cancellation_while_the_result_waits_ends_the_tries(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    platform.fail("/job/result", *[Fault(status=503)] * 40)
    supervisor = start_miner(HELLO, patience=replace(QUICK, result_waits_s=(5.0,) * 11))
    job = platform.ask("hello")
    platform.wait(lambda: platform.bodies("/job/result"))
    job.verdict = "cancel"
    platform.wait(lambda: supervisor.miner.jobs.is_empty, timeout_s=3)


def test_a_waiting_result_does_not_hold_a_slot(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/result", *[Fault(status=503)] * 4)
    start_miner(HELLO, slots=1, patience=replace(QUICK, result_waits_s=(0.5,) * 11))
    first = platform.ask("first")
    platform.wait(lambda: platform.bodies("/job/result"))
    second = platform.ask("second")
    platform.wait(lambda: second.state == "running")
    assert first.state == "running"


def test_draining_waits_for_results_that_are_not_delivered_yet(
    platform: FakePlatform, start_miner: MinerStarter
) -> None:
    platform.fail("/job/result", *[Fault(status=503)] * 4)
    supervisor = start_miner(HELLO)
    job = platform.ask("hello")
    platform.wait(lambda: platform.bodies("/job/result"))
    supervisor.drain()
    assert supervisor.wait(6)
    assert job.state == "completed"


def test_a_refused_key_at_the_result_ends_the_miner(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/job/result", Fault(status=401, body={"detail": "revoked", "error_code": "NOT_AUTHENTICATED"}))
    supervisor = start_miner(HELLO)
    platform.ask("hello")
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, Refused)


def test_an_answer_is_signed_with_the_model_that_wrote_it(start_miner: MinerStarter, platform: FakePlatform) -> None:
    start_miner(Act(text="hello", delay_ms=1), model_name="qwen", model_digest="sha256:abc")
    job = platform.ask("hi")
    platform.wait(lambda: job.result)
    assert job.result is not None
    assert (job.result["model"], job.result["model_digest"]) == ("qwen", "sha256:abc")
