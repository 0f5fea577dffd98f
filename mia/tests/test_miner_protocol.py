"""Where both sides meet: the miner's program and the platform, each as it is shipped."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests

from mia.tests.chaos.machines import HandMiner, Machine
from mia.tests.chaos.site import ROOT, Site, until
from mia.tests.chaos.visitors import Visitor

pytestmark = pytest.mark.chaos

TEXT = "Ihr Paket 📦 kommt morgen, zwischen 9 und 11 Uhr."


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
def start(site: Site) -> Iterator[Callable[..., Machine]]:
    started: list[Machine] = []

    def start_one(name: str, *acts: dict[str, Any], **fields: Any) -> Machine:
        started.append(Machine(site, name, list(acts), **fields).start())
        return started[-1].wait_until_online()

    yield start_one
    for machine in started:
        machine.kill()
    site.sql("UPDATE miners_miner SET last_active = NULL, status = 'offline'")


def ask(site: Site, message: str, **fields: Any) -> Visitor:
    return Visitor(site.url, site.facts["keys"][0]).ask(message, **fields)


def run_miner(site: Site, name: str, *options: str) -> subprocess.CompletedProcess[str]:
    """One that is expected to end by itself."""
    command = [sys.executable, "-m", "gpu_miner", "--url", site.url, "--name", name, "--engine", "scripted"]
    command += ["--state-dir", str(site.directory / "miners" / name), *options]
    return subprocess.run(
        command, cwd=ROOT, env=site.environment, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_miner_registers_answers_and_is_credited(site: Site, start: Callable[..., Machine]) -> None:
    machine = start("berlin", {"text": TEXT}, slots=2)
    asked = ask(site, "Wo ist mein Paket?").follow(20)
    assert (asked.shown, asked.problems, asked.ending["finish_reason"]) == (TEXT, [], "stop")
    assert len(asked.times_of("delta")) > 1
    row = machine.row
    assert (row["slots"], row["job_count"], row["model_ids"]) == (2, 1, ["scripted"])
    assert row["agent"].startswith("mia-miner/") or row["agent"].startswith("gpu_miner/")
    listed = requests.get(f"{site.url}/miners", timeout=10).json()
    assert [miner["job_count"] for miner in listed if miner["name"] == "berlin"] == [1]


def test_the_key_is_kept_where_only_its_owner_reads_it(site: Site, start: Callable[..., Machine]) -> None:
    machine = start("careful")
    before = machine.row["key_prefix"]
    files = [path for path in (site.directory / "miners" / "careful").rglob("*") if path.is_file()]
    keys = [path for path in files if "mia_mk_" in path.read_text()]
    assert [stat.S_IMODE(path.stat().st_mode) for path in keys] == [0o600]
    machine.kill()
    site.sql("UPDATE miners_miner SET last_active = NULL, status = 'offline'")
    machine.start().wait_until_online()
    assert machine.row["key_prefix"] == before


def test_a_wrong_token_and_a_taken_name_are_told_plainly(site: Site, start: Callable[..., Machine]) -> None:
    start("taken")
    refused = run_miner(site, "newcomer", "--enrolment-token", "mia_et_" + "0" * 40)
    stolen = run_miner(
        site, "taken", "--enrolment-token", site.facts["token"], "--state-dir", str(site.directory / "x")
    )
    assert (refused.returncode, stolen.returncode) == (4, 5)
    assert "enrolment token" in refused.stderr
    assert "taken" in stolen.stderr


def test_an_engines_error_is_retried_elsewhere_and_never_shown(site: Site, start: Callable[..., Machine]) -> None:
    error = {"code": "oom", "message": "CUDA out of memory", "retryable": True}
    broken = start("broken", {"text": "half", "fault": "error", "error": error})
    asked = ask(site, "Works?")
    asked.follow_in_background()
    until(lambda: len(site.attempts(asked.job_id)) == 1 and site.attempts(asked.job_id)[0]["outcome"], "the error", 20)
    start("whole", {"text": TEXT})
    until(lambda: asked.is_done, "the answer", 20)
    assert asked.shown == TEXT
    first, second = site.attempts(asked.job_id)
    assert (first["outcome"], first["reason"], second["outcome"]) == ("error", "oom: CUDA out of memory", "accepted")
    assert broken.row["fault_count"] == 1


def test_words_that_no_database_likes_reach_the_visitor_in_some_form(site: Site, start: Callable[..., Machine]) -> None:
    start("wild", {"text": "before and after", "after": 1, "fault": "garbage", "delay_ms": 5})
    asked = ask(site, "Go wild").follow(20)
    assert asked.ending["status"] == "completed"
    assert asked.shown == asked.result()["result"]["response"]
    assert "<script>" in asked.shown, "shown as text, by whoever shows it"
    assert "\x00" not in asked.shown


def test_tool_calls_pass_through(site: Site, start: Callable[..., Machine]) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "track", "arguments": "{}"}}
    start("handy", {"text": "", "tool_calls": [call]})
    tool = {"type": "function", "function": {"name": "track", "parameters": {"type": "object", "properties": {}}}}
    asked = ask(site, "Track it", tools=[tool]).follow(20)
    (told,) = [event for _, event in asked.events if event["type"] == "tool_call"]
    assert told["tool_calls"] == [call]
    assert asked.result()["result"]["tool_calls"] == [call]


def test_a_miner_that_is_told_to_stop_finishes_what_it_has(site: Site, start: Callable[..., Machine]) -> None:
    machine = start("polite", {"text": TEXT, "delay_ms": 150})
    asked = ask(site, "Finish?")
    asked.follow_in_background()
    until(lambda: asked.shown, "the first words")
    assert machine.child is not None
    machine.child.send(signal.SIGTERM)
    until(lambda: asked.is_done, "the rest", 20)
    assert asked.shown == TEXT
    assert machine.child.wait(15)
    assert len(site.attempts(asked.job_id)) == 1
    assert machine.row["status"] in {"draining", "offline"}


def test_a_miner_that_is_drained_by_staff_takes_nothing_new(site: Site, start: Callable[..., Machine]) -> None:
    machine = start("tired")
    site.sql("UPDATE miners_miner SET drain_requested = true WHERE name = 'tired'")
    until(lambda: "drain" in machine.said(), "the miner to hear of it", 15)
    asked = ask(site, "Anybody?")
    start("fresh")
    assert asked.follow(20).shown == "You said: Anybody?"
    assert machine.row["job_count"] == 0


def test_new_limits_reach_a_running_miner(site: Site, start: Callable[..., Machine]) -> None:
    start("limited", {"text": TEXT, "delay_ms": 60}, slots=4)
    site.sql("UPDATE miners_miner SET max_slots = 1, config_pending = true WHERE name = 'limited'")
    until(lambda: not site.miner_named("limited")["config_pending"], "the miner to be told", 15)
    # The poll that was parked before asks for four; this one uses it up.
    ask(site, "Question").follow(20)
    asked = [ask(site, f"Question {number}") for number in range(3)]
    until(lambda: all(site.job(one.job_id)["state"] == "completed" for one in asked), "all answers", 30)
    starts = sorted(site.job(one.job_id)["started_at"] for one in asked)
    # Written one after the other, half a second each; in four slots they would start together.
    assert all(later - sooner > timedelta(seconds=0.3) for sooner, later in pairwise(starts)), starts


def test_the_seeds_own_flow_works_with_a_key(site: Site) -> None:
    """The "Miner Communication Flow" of the third seed, its shapes unchanged but for the key."""
    card = {
        "name": "gpu-miner-001",
        "ip_address": "1.2.3.4",
        "gpu_name": "NVIDIA RTX 3090",
        "gpu_memory_mb": 24576,
        "status": "idle",
    }
    token = {"Authorization": f"Bearer {site.facts['token']}"}
    made = requests.post(f"{site.url}/register_miner", json=card, headers=token, timeout=10).json()
    key = {"Authorization": f"Bearer {made['auth_key']}"}
    asked = ask(site, "Comment puis-je réinitialiser mon mot de passe?")
    job = curl(f"{site.url}/job/next?miner_id={made['miner_id']}", key)
    assert job["job_id"] == asked.job_id
    assert job["prompt"] == "Comment puis-je réinitialiser mon mot de passe?"
    assert job.keys() >= {"context", "session_id", "max_tokens"}
    result = {
        "job_id": job["job_id"],
        "session_id": job["session_id"],
        "output": "Pour réinitialiser votre mot de passe...",
        "miner_id": str(made["miner_id"]),
        "success": True,
        "tokens_generated": 12,
    }
    assert curl(f"{site.url}/job/result", key, result)["status"] == "completed"
    assert asked.follow(10).shown == "Pour réinitialiser votre mot de passe..."
    assert curl(f"{site.url}/miner/{made['miner_id']}/status", key, {"status": "busy"})["status"] == "busy"
    assert site.miner(made["miner_id"])["status"] == "busy"


def curl(url: str, headers: dict[str, str], body: dict[str, Any] | None = None) -> dict[str, Any]:
    """As a shell would: curl where it is installed, else the same request."""
    headers = {**headers, "Content-Type": "application/json"}
    reply = requests.request("POST" if body else "GET", url, headers=headers, data=json.dumps(body), timeout=40)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def test_a_connection_that_is_cut_and_comes_back_repeats_and_loses_nothing(
    site: Site, start: Callable[..., Machine]
) -> None:
    """The miner is stopped in the middle of its words for less than a stall, as by a broken line."""
    machine = start("wobbly", {"text": TEXT * 3, "delay_ms": 100})
    asked = ask(site, "Hold the line")
    asked.follow_in_background()
    until(lambda: len(asked.shown) > 20, "some words")
    machine.freeze()
    threading.Event().wait(3.5)
    machine.thaw()
    until(lambda: asked.is_done, "the rest", 30)
    assert (asked.shown, asked.problems) == (TEXT * 3, [])
    assert len(site.attempts(asked.job_id)) == 1


def test_hand_driven_words_come_out_as_they_went_in(site: Site) -> None:
    """Every kind of character, cut anywhere, sent again from anywhere the platform says."""
    made = requests.post(
        f"{site.url}/register_miner",
        json={"name": "hand", "agent": "tests/1", "models": [{"id": "any", "max_context": 8192}]},
        headers={"Authorization": f"Bearer {site.facts['token']}"},
        timeout=10,
    ).json()
    hand = HandMiner(site, made["miner_id"], made["auth_key"])
    text = 'áé\u0301 \U0001f469\u200d\U0001f52c \u05e9\u05dc\u05d5\u05dd "\\/\n\t</script> &amp; \u202e'
    asked = ask(site, "All of Unicode")
    offer = hand.take(asked.job_id)
    asked.follow_in_background()
    for offset, character in enumerate(text):
        assert hand.chunk(offer, offset, character) == {
            "job_id": asked.job_id,
            "verdict": "ok",
            "next_offset": offset + 1,
        }
    assert hand.chunk(offer, 0, text) == {"job_id": asked.job_id, "verdict": "range", "next_offset": len(text)}
    assert hand.result(offer, text).status_code == 200
    until(lambda: asked.is_done, "the end")
    assert asked.shown == text == asked.result()["result"]["response"]


def test_a_miner_that_staff_pause_waits_and_goes_on(site: Site, start: Callable[..., Machine]) -> None:
    machine = start("weary", {"text": TEXT})
    site.sql("UPDATE miners_miner SET pause_requested = true WHERE name = 'weary'")
    until(lambda: "paused by the platform's staff" in machine.said(), "the miner to hear of it", 15)
    until(lambda: machine.row["status"] == "paused", "the platform to hear that it did", 15)
    asked = ask(site, "Is anybody there?")
    asked.follow_in_background()
    site.sql("UPDATE miners_miner SET pause_requested = false WHERE name = 'weary'")
    until(lambda: asked.is_done, "the answer", 20)
    assert asked.shown == TEXT


def test_an_idle_job_on_a_full_miner_gives_way_to_a_customer(site: Site, start: Callable[..., Machine]) -> None:
    idle = ask(site, "A story, please")
    site.sql("UPDATE miners_job SET lane = 2, kind = 'idle' WHERE id = %s", idle.job_id)
    story = {"match": "story", "text": "word " * 150, "delay_ms": 20, "continues": True}
    machine = start("polite", story, {"text": TEXT}, slots=1)
    site.wait_for_state(idle.job_id, "running")
    asked = ask(site, "Quick!").follow(10)
    assert asked.shown == TEXT
    assert site.job(idle.job_id)["state"] != "completed"
    site.wait_for_state(idle.job_id, "completed")
    assert [attempt["outcome"] for attempt in site.attempts(idle.job_id)] == ["gave_way", "accepted"]
    assert (site.job(idle.job_id)["faults"], machine.row["fault_count"]) == (0, 0)


class Installation:
    """The miner as its owner installs it, in a home of its own."""

    def __init__(self, site: Site, home: Path) -> None:
        self.site, self.home, self.folder = site, home, home / "mia-gpu-miner"
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home), "TMPDIR": str(home / "tmp")}
        (home / "tmp").mkdir(parents=True)

    def install(self, *options: str) -> subprocess.CompletedProcess[str]:
        """What the admin's command does, with the packages of this very Python: tests fetch nothing from elsewhere."""
        script = requests.get(f"{self.site.url}/install.sh", timeout=10).text
        shell = shutil.which("dash") or "sh"
        command = [
            shell,
            "-s",
            "--",
            "--no-service",
            "--dir",
            str(self.folder),
            "--use-python",
            sys.executable,
            *options,
        ]
        return subprocess.run(
            command, input=script, env=self.environment, capture_output=True, text=True, timeout=60, check=False
        )

    def call(self, *command: str) -> subprocess.CompletedProcess[str]:
        program = [str(self.folder / command[0]), *command[1:]]
        return subprocess.run(
            program, env=self.environment, capture_output=True, text=True, timeout=60, check=False, cwd=self.home
        )


@pytest.mark.skipif(shutil.which("curl") is None, reason="the installer needs curl, as its owner does")
def test_one_command_installs_a_miner_that_answers_and_one_removes_it(site: Site, tmp_path: Path) -> None:
    mine, token = Installation(site, tmp_path), site.facts["token"]
    dry = mine.install("--dry-run", "--token", token)
    assert dry.returncode == 0, dry.stderr
    assert not mine.folder.exists()
    done = mine.install("--token", token, "--name", "stranger", "--set", "slots=2", "--set", "words-per-s=500")
    try:
        assert done.returncode == 0, done.stdout + done.stderr
        assert "stranger: " in done.stdout
        assert stat.S_IMODE((mine.folder / "miner.toml").stat().st_mode) == 0o600
        until(lambda: site.sql("SELECT 1 FROM miners_miner WHERE name = 'stranger' AND status = 'idle'"), "it", 15)
        site.sql("UPDATE miners_miner SET trust = 1 WHERE name = 'stranger'")
        asked = ask(site, "When do you open?").follow(20)
        assert asked.ending["status"] == "completed"
        assert mine.call("mia-miner", "doctor").returncode == 0
        assert mine.call("stop_miner.sh").stdout == "stopped\n"
        assert mine.call("mia-miner", "status").returncode == 3
        assert mine.call("start_miner.sh").returncode == 0
        until(lambda: mine.call("mia-miner", "status").returncode == 0, "the second start", 15)
        said = "".join(path.read_text() for path in mine.folder.glob("*.log")) + done.stdout + dry.stdout
        assert token not in said
    finally:
        removed = mine.install("--uninstall")
    assert removed.returncode == 0, removed.stderr
    assert [path for path in tmp_path.rglob("*") if path.name != "tmp"] == []
