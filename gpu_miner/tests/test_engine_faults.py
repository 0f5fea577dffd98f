"""A whole miner whose engine process fails under load: no job is lost, and work goes on."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from gpu_miner.engines.batched.engine import BatchedEngine, EnginePatience
from gpu_miner.engines.batched.generator import GeneratorOptions
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakeJob, FakePlatform

JOBS = 8
QUICK = EnginePatience(hung_after_s=0.5, restart_first_s=0.05, restart_cap_s=0.2, watch_tick_s=0.05)


@pytest.fixture
def engine() -> Iterator[BatchedEngine]:
    options = GeneratorOptions("scripted", slots=JOBS, script='{"step_ms": 5, "tokens": 200}')
    engine = BatchedEngine(options, patience=QUICK)
    yield engine
    engine.close()


def wait_for_room(engine: BatchedEngine) -> None:
    """An offer that comes while the engine restarts is left to others, and this platform has no others."""
    until = time.monotonic() + 20
    while not engine.room():
        assert time.monotonic() < until
        time.sleep(0.02)


def answered(platform: FakePlatform, jobs: list[FakeJob]) -> None:
    platform.wait(lambda: all(job.result for job in jobs), timeout_s=20)


def test_a_killed_engine_hands_back_every_job_and_the_next_are_answered(
    start_miner: MinerStarter, platform: FakePlatform, engine: BatchedEngine
) -> None:
    supervisor = start_miner(engine=engine, slots=JOBS)
    jobs = [platform.ask(f"question {number}") for number in range(JOBS)]
    platform.wait(lambda: all(job.text for job in jobs))
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    answered(platform, jobs)
    errors = [job.result["error"] for job in jobs if job.result]
    assert {(error["code"], error["retryable"]) for error in errors} == {("engine_restarting", True)}
    wait_for_room(engine)
    again = [platform.ask(f"again {number}", params={"max_tokens": 5}) for number in range(JOBS)]
    answered(platform, again)
    assert {job.state for job in again} == {"completed"}
    assert supervisor.failure is None


def test_heartbeats_go_on_while_the_engine_hangs_and_restarts(
    start_miner: MinerStarter, platform: FakePlatform, engine: BatchedEngine
) -> None:
    supervisor = start_miner(engine=engine, slots=JOBS)
    job = platform.ask("please hang")
    platform.wait(lambda: job.text)
    beats = len(platform.statuses)
    answered(platform, [job])
    assert len(platform.statuses) > beats + 2
    wait_for_room(engine)
    after = platform.ask("still there?", params={"max_tokens": 5})
    answered(platform, [after])
    assert after.state == "completed"
    assert supervisor.failure is None


def test_a_draining_miner_ends_its_engine_process(
    start_miner: MinerStarter, platform: FakePlatform, engine: BatchedEngine
) -> None:
    supervisor = start_miner(engine=engine, slots=JOBS)
    job = platform.ask("one", params={"max_tokens": 5})
    answered(platform, [job])
    pid = engine.pid
    supervisor.drain()
    assert supervisor.wait(5)
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
