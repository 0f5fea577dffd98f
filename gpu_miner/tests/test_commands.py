"""The commands beside `run`: what they say, and what they end with."""

import json
import logging
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from gpu_miner.benchmark import BenchCache, bench_key, measure
from gpu_miner.checkup import Finding, Level, _clock
from gpu_miner.cli import main, split
from gpu_miner.config import Settings
from gpu_miner.engines.base import EngineJob, Finish, Stream
from gpu_miner.engines.scripted import Act, Script, ScriptedEngine
from gpu_miner.errors import ConfigError
from gpu_miner.packages import PACKAGES
from gpu_miner.protocol import GpuCard
from gpu_miner.state import Identity, KeyFile
from gpu_miner.status import Situation
from gpu_miner.status_file import StatusFile, is_held, miners_here
from gpu_miner.tests.fake_hub import FakeHub
from gpu_miner.tests.fake_platform import FakePlatform
from gpu_miner.tests.test_main import Starter, ended, environment, start

__all__ = ["start"]
CALM = Situation("m1", "idle", running=0, slots=4, done=7, failed=0, tokens_per_s=0.0, uptime_s=3)
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """Commands set up logging to this test's standard error, which is closed when the next one logs."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def call(platform: FakePlatform, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Runs a command in this process; its exit code, output and errors."""
    environ = {"MIA_URL": platform.url, "MIA_NAME": "m1", "MIA_STATE_DIR": str(tmp_path / "state")}
    environ |= {"MIA_MODELS_DIR": str(tmp_path / "models"), "PATH": str(tmp_path)}

    def run(*arguments: str, **more: str) -> tuple[int, str, str]:
        code = main(arguments, {**environ, **more})
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.mark.parametrize(
    ("given", "command"),
    [
        ([], "run"),
        (["--once"], "run"),
        (["run", "--once"], "run"),
        (["doctor"], "doctor"),
        (["status", "--json"], "status"),
    ],
)
def test_flags_alone_mean_run(given: list[str], command: str) -> None:
    assert split(given)[0] == command


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean “doctor”"):
        split(["docter"])


class TestDoctor:
    def test_a_machine_that_would_work_is_told_so(self, call: Call) -> None:
        code, out, _ = call("doctor", "--engine", "scripted", "--enrolment-token", "mia_et_secret")
        assert code == 0, out
        for subject in ("driver", "disk", "network", "clock", "key", "answer"):
            assert f"OK      {subject}" in out
        assert out.endswith("All is well.\n")
        assert "mia_et_secret" not in out

    def test_a_platform_out_of_reach_is_a_failure_with_advice(self, call: Call) -> None:
        code, out, _ = call("doctor", "--engine", "scripted", "--url", "http://127.0.0.1:9")
        assert code == 1
        assert "failure network" in out
        assert "→ check --url" in out

    def test_a_machine_without_key_and_token_is_warned(self, call: Call) -> None:
        code, out, _ = call("doctor", "--engine", "scripted")
        assert code == 0
        assert "warning key" in out

    def test_an_engine_without_its_packages_is_told_how_to_get_them(
        self, call: Call, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(PACKAGES, "exllamav3", "a_package_that_nobody_wrote")
        code, out, _ = call("doctor", "--engine", "exllamav3", "--model", "/no/where")
        assert code == 1
        assert "requirements-exllamav3.txt" in out

    def test_an_engine_that_writes_nothing_is_a_failure(self, call: Call) -> None:
        script = json.dumps({"acts": [{"fault": "error", "error": {"code": "oom", "message": "no memory"}}]})
        code, out, _ = call("doctor", "--engine", "scripted", "--script", script)
        assert code == 1
        assert "oom: no memory" in out

    def test_a_registered_miner_is_known_by_name(self, call: Call, platform: FakePlatform, tmp_path: Path) -> None:
        platform.miners["m1"] = {"miner_id": "1", "auth_key": "mia_mk_x"}
        key_file = KeyFile(tmp_path / "state", platform.url, "m1")
        key_file.hold()
        key_file.save(Identity(platform.url, "m1", "1", "mia_mk_x"))
        key_file.release()
        _, out, _ = call("doctor", "--engine", "scripted")
        assert "OK      key       registered as m1, verified, 7 jobs done" in out
        platform.miners["m1"]["auth_key"] = "mia_mk_y"
        code, out, _ = call("doctor", "--engine", "scripted")
        assert (code, "failure key" in out) == (1, True)

    @pytest.mark.parametrize(("ahead_s", "level"), [(0, Level.OK), (60, Level.WARNING), (-900, Level.FAILURE)])
    def test_a_clock_is_judged_by_the_platforms(self, ahead_s: int, level: Level) -> None:
        now = datetime.now(UTC)
        assert _clock((now - timedelta(seconds=ahead_s)).isoformat(), now).level is level

    @pytest.mark.parametrize("told", ["", "soon", "2026-01-01"])
    def test_a_platform_that_does_not_tell_the_time_is_a_warning(self, told: str) -> None:
        assert _clock(told, datetime.now(UTC)).level is Level.WARNING

    def test_a_finding_says_what_to_do(self) -> None:
        assert str(Finding(Level.WARNING, "clock", "60 s ahead", "turn on")).splitlines()[1].strip() == "→ turn on"


class TestBench:
    def test_the_result_is_shown_and_kept_for_the_platform(self, call: Call, tmp_path: Path) -> None:
        script = json.dumps({"acts": [{"text": "word " * 200, "delay_ms": 1, "first_delay_ms": 20}]})
        code, out, err = call("bench", "--engine", "scripted", "--slots", "2", "--script", script)
        assert code == 0, err
        assert "one answer" in out
        (kept,) = json.loads((tmp_path / "state" / "bench.json").read_text()).values()
        assert kept["ttft_ms"] >= 20
        assert min(kept["agg_tok_s"], kept["b1_tok_s"]) > 0

    def test_the_platform_is_told_at_registration(self, platform: FakePlatform, start: Starter, tmp_path: Path) -> None:
        settings = Settings(platform.url, "m1", engine="scripted", slots=4, state_dir=tmp_path)
        result = {"b1_tok_s": 41.5}
        BenchCache(tmp_path).put(bench_key(settings, ScriptedEngine(slots=4).models(), []), result)
        start()
        platform.wait(lambda: platform.bodies("/register_miner"), timeout_s=15)
        assert platform.bodies("/register_miner")[0]["bench"] == result

    def test_another_card_driver_model_or_engine_is_measured_anew(self) -> None:
        settings = Settings("https://mia.example", "m1", engine="scripted")
        models = ScriptedEngine().models()
        cards: list[list[GpuCard]] = [[], [{"name": "a", "vram_mb": 1}], [{"name": "a", "vram_mb": 1, "driver": "570"}]]
        keys = {bench_key(settings, models, gpus) for gpus in cards}
        keys |= {bench_key(settings, [{**models[0], "digest": "sha256:x"}], [])}
        keys |= {bench_key(Settings("https://mia.example", "m1", engine="openai"), models, [])}
        assert len(keys) == 5

    def test_a_full_house_is_measured_at_once(self) -> None:
        engine = CountingEngine(Script((Act(text="word " * 20, delay_ms=2),)), slots=4)
        result = measure(engine)
        assert (result["agg_slots"], engine.most_at_once) == (4, 4)


class CountingEngine(ScriptedEngine):
    """Remembers how many jobs it ever wrote at the same time."""

    def __init__(self, script: Script, *, slots: int) -> None:
        super().__init__(script, slots=slots)
        self.lock, self.now, self.most_at_once = Lock(), 0, 0

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        with self.lock:
            self.now += 1
            self.most_at_once = max(self.most_at_once, self.now)
        try:
            return super().run(job, stream)
        finally:
            with self.lock:
                self.now -= 1


class TestDownload:
    def test_the_catalogue_is_listed(self, call: Call) -> None:
        code, out, _ = call("download", "--list")
        assert code == 0
        assert "qwen2.5-7b-instruct " in out

    def test_a_model_is_brought_here_with_its_digest(self, call: Call, tmp_path: Path) -> None:
        hub = FakeHub()
        try:
            code, out, err = call("download", "owner/model@4.0bpw", "--hub-url", hub.url)
        finally:
            hub.close()
        assert code == 0, err
        assert "sha256:" in out
        assert (tmp_path / "models" / "owner--model@4.0bpw" / "model.safetensors").exists()

    def test_a_model_that_is_nowhere_ends_with_6(self, call: Call) -> None:
        code, _, err = call("download", "owner/model", "--hub-url", "http://127.0.0.1:9")
        assert code == 6
        assert "cannot be listed" in err


class TestStatus:
    def test_a_running_miner_is_seen_and_a_killed_one_is_told_apart(
        self, call: Call, platform: FakePlatform, start: Starter, tmp_path: Path
    ) -> None:
        process = start("--state-dir", str(tmp_path / "state"))
        platform.wait(lambda: platform.bodies("/job/next"), timeout_s=15)
        (path,) = wait_for(lambda: list((tmp_path / "state").glob("*.status")))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        code, out, _ = call("status")
        assert (code, out.startswith("m1: ")) == (0, True)
        code, out, _ = call("status", "--json")
        assert json.loads(out)["engine"] == "scripted"
        process.kill()
        process.wait()
        code, out, _ = call("status")
        assert (code, "not running" in out) == (3, True)

    def test_a_miner_that_ended_leaves_no_status(self, platform: FakePlatform, start: Starter, tmp_path: Path) -> None:
        platform.ask("hello")
        assert ended(start("--once"))[0] == 0
        assert list(miners_here(tmp_path)) == []

    def test_nothing_here_is_said_plainly(self, call: Call) -> None:
        code, out, _ = call("status")
        assert (code, "no miner runs" in out) == (3, True)

    def test_a_broken_file_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / "a.status").write_text("{")
        assert list(miners_here(tmp_path)) == []
        assert not is_held(tmp_path / "a.lock")

    def test_a_full_disk_stops_no_miner(self, tmp_path: Path) -> None:
        StatusFile(tmp_path / "gone" / "m1.json", Settings("https://mia.example", "m1")).write(CALM)


def test_the_log_goes_to_a_file_when_it_is_named(platform: FakePlatform, start: Starter, tmp_path: Path) -> None:
    platform.ask("hello")
    code, out, err = ended(start("--once", "--log-file", str(tmp_path / "logs" / "miner.log")))
    log = (tmp_path / "logs" / "miner.log").read_text()
    assert (code, out, err) == (0, "", "")
    assert "tok/s" in log
    assert "stopped, nothing left undone" in log


def test_the_core_needs_nothing_but_requests() -> None:
    code = "import sys, gpu_miner.cli, gpu_miner.commands.run, gpu_miner.commands.doctor, gpu_miner.commands.download"
    code += "; print(sorted({n.split('.')[0] for n in sys.modules} - set(sys.stdlib_module_names)))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", f"import site; site.main(); {code}"],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(json.loads(done.stdout.replace("'", '"')))
    allowed = {"requests", "urllib3", "certifi", "idna", "charset_normalizer", "gpu_miner", "__main__"}
    foreign = {name for name in loaded - allowed if not name.startswith(("_", "charset_normalizer"))}
    assert not foreign & {"django", "torch", "numpy", "jinja2", "tokenizers", "mia", "miners"}, foreign


def wait_for(look: Callable[[], Any], timeout_s: float = 10) -> Any:
    until = time.monotonic() + timeout_s
    while not (found := look()):
        assert time.monotonic() < until
        time.sleep(0.05)
    return found
