"""The miner as a process of its own: signals, exit codes, and what it leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_miner.tests.fake_platform import FakePlatform

ROOT = Path(__file__).parents[2]
Starter = Callable[..., subprocess.Popen[str]]


def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MIA_")}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


@pytest.fixture
def start(platform: FakePlatform, tmp_path: Path) -> Iterator[Starter]:
    processes: list[subprocess.Popen[str]] = []

    def run(*arguments: str, script: object = None) -> subprocess.Popen[str]:
        common = ["--url", platform.url, "--name", "m1", "--state-dir", str(tmp_path), "--engine", "scripted"]
        command = [
            sys.executable,
            "-m",
            "gpu_miner",
            *common,
            "--script",
            json.dumps({"acts": script or []}),
            *arguments,
        ]
        process = subprocess.Popen(
            command, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], timeout_s: float = 15) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout_s)
    return process.returncode, out, err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_running_job_finish(platform: FakePlatform, start: Starter, number: signal.Signals) -> None:
    process = start("--slots", "1", script=[{"text": "word " * 40, "delay_ms": 20}])
    job = platform.ask("hello")
    platform.wait(lambda: job.text, timeout_s=15)
    process.send_signal(number)
    later = platform.ask("later")
    code, out, err = ended(process)
    assert code == 0, err
    assert (job.state, later.state) == ("completed", "queued")
    assert job.result is not None
    assert job.result["output"] == "word " * 40
    assert platform.statuses[-1] == "offline"
    assert "m1: draining" in out


def test_a_second_signal_stops_at_once(platform: FakePlatform, start: Starter) -> None:
    process = start(script=[{"text": "word " * 900, "delay_ms": 50}])
    job = platform.ask("hello")
    platform.wait(lambda: job.text, timeout_s=15)
    process.send_signal(signal.SIGTERM)
    platform.wait(lambda: "draining" in platform.statuses)
    asked_at = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, _, err = ended(process)
    assert code == 1
    assert time.monotonic() - asked_at < 5
    assert job.results_seen == 0
    assert "Traceback" not in err


def test_a_signal_without_jobs_ends_within_a_moment(platform: FakePlatform, start: Starter) -> None:
    platform.config["poll_wait_ms"] = 25_000
    process = start()
    platform.wait(lambda: platform.bodies("/job/next"), timeout_s=15)
    process.send_signal(signal.SIGTERM)
    assert ended(process, timeout_s=8)[0] == 0


def test_once_answers_one_job(platform: FakePlatform, start: Starter) -> None:
    job = platform.ask("hello")
    code, out, _ = ended(start("--once"))
    assert code == 0
    assert job.result is not None
    assert job.result["output"] == "You said: hello"
    assert "m1:" in out


def test_a_process_that_dies_leaves_its_job_to_others(platform: FakePlatform, start: Starter) -> None:
    process = start(script=[{"text": "a b c d", "after": 2, "fault": "exit", "delay_ms": 30}])
    job = platform.ask("hello")
    assert ended(process)[0] == 139
    assert job.results_seen == 0


def test_a_taken_name_exits_with_5(platform: FakePlatform, start: Starter) -> None:
    platform.miners["m1"] = {"miner_id": "1", "auth_key": "another"}
    code, _, err = ended(start())
    assert code == 5
    assert "choose another --name" in err
    assert "Traceback" not in err


def test_a_refusal_exits_with_4(platform: FakePlatform, start: Starter) -> None:
    platform.token = "secret"
    code, _, err = ended(start())
    assert code == 4
    assert "MIA_ENROLMENT_TOKEN" in err


def test_a_wrong_start_exits_with_2_and_names_every_problem(start: Starter) -> None:
    code, _, err = ended(start("--slots", "0", "--url", "http://mia.example"))
    assert code == 2
    assert "--slots" in err
    assert "unencrypted" in err


def test_a_second_miner_of_the_same_name_exits_with_2(platform: FakePlatform, start: Starter) -> None:
    start()
    platform.wait(lambda: platform.bodies("/job/next"), timeout_s=15)
    code, _, err = ended(start())
    assert code == 2
    assert "another miner already runs" in err


@pytest.mark.parametrize("engine", ["exllamav2", "openai"])
def test_an_engine_that_cannot_run_exits_with_3(start: Starter, engine: str) -> None:
    code, _, err = ended(start("--engine", engine, "--openai-url", "http://127.0.0.1:9/v1"))
    assert code == 3
    assert "Traceback" not in err


def test_the_key_is_never_logged(platform: FakePlatform, start: Starter) -> None:
    platform.ask("hello")
    process = start("--once", "--log-level", "debug")
    _, out, err = ended(process)
    assert platform.miners["m1"]["auth_key"] not in out + err


def test_the_miner_imports_nothing_of_the_platform() -> None:
    modules = ["gpu_miner.__main__", *(f"gpu_miner.engines.{name}" for name in ("extractive", "openai", "scripted"))]
    foreign = ("django", "mia", "miners", "accounts", "chats", "torch")
    code = f"import sys, {', '.join(modules)}; print([n for n in sys.modules if n.split('.')[0] in {foreign}])"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
