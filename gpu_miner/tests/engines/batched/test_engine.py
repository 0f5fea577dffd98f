"""The engine process under its miner: real processes that die, hang, babble and run out of memory."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.engines.base import Cancelled, Collector, EngineJob, Finish
from gpu_miner.engines.batched.engine import BatchedEngine, EnginePatience
from gpu_miner.engines.batched.generator import GeneratorOptions
from gpu_miner.errors import EngineError, EngineUnavailable

QUICK = EnginePatience(hung_after_s=0.5, load_s=5.0, restart_first_s=0.05, restart_cap_s=0.2, watch_tick_s=0.05)
MakeEngine = Callable[..., BatchedEngine]


@pytest.fixture
def make_engine() -> Iterator[MakeEngine]:
    engines: list[BatchedEngine] = []

    def make(*, load: bool = True, patience: EnginePatience = QUICK, **options: Any) -> BatchedEngine:
        pace = {"step_ms": 2, "tokens": 30, **options.pop("pace", {})}
        given = {name: options.pop(name) for name in ("command", "digest") if name in options}
        chosen = GeneratorOptions("scripted", script=json.dumps(pace), **{"slots": 4, **options})
        engine = BatchedEngine(chosen, patience=patience, **given)
        engines.append(engine)
        if load:
            engine.models()
        return engine

    yield make
    for engine in engines:
        engine.close()


def ask(question: str, **changes: Any) -> EngineJob:
    return EngineJob("j", ({"role": "user", "content": question},), **changes)


def outcome(engine: BatchedEngine, question: str, stream: Collector | None = None) -> Finish | Exception:
    try:
        return engine.run(ask(question), stream or Collector())
    except (EngineError, Cancelled) as error:
        return error


def wait_until(happened: Callable[[], Any], timeout_s: float = 5.0) -> None:
    until = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def side_by_side(engine: BatchedEngine, questions: list[str]) -> list[Finish | Exception]:
    outcomes: list[Finish | Exception] = []
    threads = [threading.Thread(target=lambda q=q: outcomes.append(outcome(engine, q))) for q in questions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return outcomes


def is_restarting(error: object) -> bool:
    return isinstance(error, EngineError) and error.code == "engine_restarting" and error.retryable


def test_it_tells_the_platform_the_model_and_its_digest(make_engine: MakeEngine) -> None:
    card = make_engine(digest="sha256:abc", max_context=2048, max_output=4096).models()[0]
    assert (card["digest"], card["max_context"], card["max_output"]) == ("sha256:abc", 2048, 2048)


@pytest.mark.parametrize("fault", ["die", "hang", "fail", "out of memory"])
def test_a_broken_process_hands_back_its_jobs_at_once_and_is_replaced(make_engine: MakeEngine, fault: str) -> None:
    engine = make_engine()
    first = engine.pid
    outcomes = side_by_side(engine, ["a", "b", f"please {fault}"])
    assert len(outcomes) == 3
    assert all(is_restarting(one) for one in outcomes)
    wait_until(engine.room)
    assert engine.pid != first
    assert isinstance(outcome(engine, "again"), Finish)


def test_a_process_killed_in_the_middle_of_an_answer_is_replaced(make_engine: MakeEngine) -> None:
    engine = make_engine(pace={"tokens": 100_000})
    stream = Collector()
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(engine, "long", stream)))
    thread.start()
    wait_until(lambda: stream.tokens > 5)
    assert engine.pid is not None
    os.kill(engine.pid, signal.SIGKILL)
    thread.join(2)
    assert is_restarting(outcomes[0])
    wait_until(engine.room)
    assert engine.restarts == 1


def test_an_idle_process_is_not_taken_for_a_hung_one(make_engine: MakeEngine) -> None:
    engine = make_engine()
    time.sleep(QUICK.hung_after_s * 1.5)
    assert isinstance(outcome(engine, "still there?"), Finish)
    assert engine.restarts == 0


def test_reading_a_long_prompt_is_not_taken_for_hanging(make_engine: MakeEngine) -> None:
    patience = EnginePatience(hung_after_s=1.2, watch_tick_s=0.05)
    engine = make_engine(patience=patience, pace={"step_ms": 100, "prefill_steps": 13, "tokens": 1})
    assert isinstance(outcome(engine, "long"), Finish)


def test_out_of_memory_brings_a_process_with_half_the_cache(make_engine: MakeEngine) -> None:
    engine = make_engine(cache_tokens=8_192)
    job = ask("x", params={"max_tokens": 6_000})
    filler = threading.Thread(target=outcome, args=(engine, "please hang"))
    assert engine.admits(job)
    outcome(engine, "please out of memory")
    wait_until(engine.room)
    filler.start()
    wait_until(lambda: engine.room() < 4)
    assert not engine.admits(job)
    filler.join(3)


def test_while_it_restarts_there_is_no_room(make_engine: MakeEngine) -> None:
    engine = make_engine(pace={"load_ms": 300})
    assert engine.room() == 4
    outcome(engine, "please die")
    assert engine.room() == 0
    assert not engine.admits(ask("now?"))
    assert is_restarting(outcome(engine, "now?"))


def test_room_is_what_slots_and_cache_leave(make_engine: MakeEngine) -> None:
    engine = make_engine(pace={"tokens": 100_000}, cache_tokens=8_192, max_context=8_192)
    streams = [Collector() for _ in range(2)]
    threads = [threading.Thread(target=outcome, args=(engine, "x" * 5_000, stream), daemon=True) for stream in streams]
    for thread in threads:
        thread.start()
    wait_until(lambda: engine.room() == 1)
    for stream in streams:
        stream.cancel()
    wait_until(lambda: engine.room() == 4)


def test_a_cancelled_job_returns_at_once_and_leaves_the_process(make_engine: MakeEngine) -> None:
    engine = make_engine(pace={"tokens": 100_000})
    stream = Collector()
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(engine, "long", stream)))
    thread.start()
    wait_until(lambda: stream.tokens > 2)
    started_at = time.monotonic()
    stream.cancel()
    thread.join(2)
    assert isinstance(outcomes[0], Cancelled)
    assert time.monotonic() - started_at < 0.2
    written = stream.tokens
    assert isinstance(outcome(engine, "next"), Finish)
    assert stream.tokens == written


@pytest.mark.parametrize(
    "words",
    [
        "import sys; sys.stdout.write('CUDA warning: something\\n'); sys.stdout.flush(); input()",
        "import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\2[]'); sys.stdout.flush(); input()",
        "import sys; sys.stdout.buffer.write(b'\\0\\0\\0\\x0f' + b'{\"step\": [[1]]}'); sys.stdout.flush(); input()",
        "raise SystemExit(1)",
    ],
)
def test_a_process_that_babbles_is_given_up_after_three(make_engine: MakeEngine, words: str) -> None:
    engine = make_engine(load=False, command=[sys.executable, "-S", "-c", words])
    with pytest.raises(EngineUnavailable, match="could not be loaded"):
        engine.models()
    assert engine.room() == 0


def test_a_model_that_cannot_be_loaded_is_said_at_once(tmp_path: Path) -> None:
    engine = BatchedEngine(GeneratorOptions("transformers", model=str(tmp_path / "none")), patience=QUICK)
    with pytest.raises(EngineUnavailable, match=r"no model folder|pip install -r gpu_miner/requirements"):
        engine.models()
    assert engine.restarts == 0
    engine.close()


def test_a_process_that_never_finishes_loading_is_given_up(make_engine: MakeEngine) -> None:
    patience = EnginePatience(load_s=0.2, restart_first_s=0.01, watch_tick_s=0.05)
    engine = make_engine(load=False, patience=patience, command=[sys.executable, "-S", "-c", "input(); input()"])
    with pytest.raises(EngineUnavailable, match="could not be loaded"):
        engine.models()


def test_a_job_of_senseless_size_fails_alone(make_engine: MakeEngine) -> None:
    engine = make_engine()
    error = outcome(engine, "x" * 17_000_000)
    assert isinstance(error, EngineError)
    assert error.code == "context_too_long"
    assert isinstance(outcome(engine, "a usual one"), Finish)


def test_closing_ends_the_process_and_its_jobs(make_engine: MakeEngine) -> None:
    engine = make_engine(pace={"tokens": 100_000})
    outcomes: list[Any] = []
    thread = threading.Thread(target=lambda: outcomes.append(outcome(engine, "long")))
    thread.start()
    wait_until(lambda: engine.room() == 3)
    pid = engine.pid
    engine.close()
    thread.join(2)
    assert is_restarting(outcomes[0])
    assert pid is not None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


MINER = """
import sys, threading, time
from gpu_miner.engines.base import Collector, EngineJob
from gpu_miner.engines.batched.engine import BatchedEngine
from gpu_miner.engines.batched.generator import GeneratorOptions
engine = BatchedEngine(GeneratorOptions("scripted", script='{"step_ms": 1, "tokens": 3}'))
engine.models()
print(engine.pid, flush=True)
if len(sys.argv) > 1:
    job = EngineJob("j", ({"role": "user", "content": sys.argv[1]},))
    threading.Thread(target=engine.run, args=(job, Collector()), daemon=True).start()
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="Linux ends the process with its parent even while it hangs")
@pytest.mark.parametrize("question", [[], ["please hang"]])
def test_a_killed_miner_leaves_no_engine_process_behind(question: list[str]) -> None:
    root = Path(__file__).parents[4]
    miner = subprocess.Popen([sys.executable, "-c", MINER, *question], cwd=root, stdout=subprocess.PIPE, text=True)
    assert miner.stdout is not None
    pid = int(miner.stdout.readline())
    time.sleep(0.2 if question else 0)
    miner.kill()
    miner.wait()
    miner.stdout.close()
    wait_until(lambda: not is_running(pid))


def is_running(pid: int) -> bool:
    """A zombie that nobody has collected yet runs no more."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_supervisor_never_loads_torch(make_engine: MakeEngine) -> None:
    script = (
        "import sys; from gpu_miner.config import Settings; from gpu_miner.engines import create_engine;"
        "[create_engine(Settings('https://x', 'm', engine=e)) for e in ('transformers', 'exllamav2', 'exllamav3')];"
        "import gpu_miner.supervisor; sys.exit(any(n in sys.modules for n in ('torch', 'jinja2', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=Path(__file__).parents[4], check=False).returncode == 0
