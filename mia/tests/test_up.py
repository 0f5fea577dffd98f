"""`manage.py up`, for real: what it starts, prints and writes down, what it mends, and that nothing outlives it."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import requests

from mia.embedded.postgres import Postgres
from mia.embedded.redis import Redis
from mia.embedded.state import State, provide_environment

ROOT = Path(__file__).resolve().parents[2]
READY_S = 120
OURS = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "APP_ENV", "DEMO_PUBLISHABLE_KEY", "DJANGO_SETTINGS_MODULE")
FIELDS = {
    "url", "admin", "agent", "business_id", "bot_id", "publishable_key", "secret_key", "client_key", "enrolment_token",
    "database_url", "redis_url", "pids",
}  # fmt: skip


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def plain_environment(**more: str) -> dict[str, str]:
    """What a person's shell has: nothing of this test run."""
    return {name: value for name, value in os.environ.items() if name not in OURS} | more


@dataclass
class Platform:
    """One `up` on a state directory, started and stopped at will."""

    state: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def output(self) -> Path:
        return self.state.with_suffix(".out")

    def command(self, *options: str) -> list[str]:
        arguments = ["--port", str(self.port), "--state-dir", str(self.state), *options]
        return [sys.executable, str(ROOT / "manage.py"), "up", *arguments]

    def start(self, *options: str, **environment: str) -> float:
        """Start it, return the seconds until it was ready."""
        begun = time.monotonic()
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                self.command(*options), env=plain_environment(**environment), stdout=output, stderr=subprocess.STDOUT
            )
        while "MIA is ready." not in self.printed():
            assert self.process.poll() is None, self.printed()
            assert time.monotonic() - begun < READY_S, self.printed()
            time.sleep(0.05)
        return time.monotonic() - begun

    def run_to_the_end(self, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*options),
            env=plain_environment(**environment),
            capture_output=True,
            text=True,
            timeout=READY_S,
            check=False,
        )

    def printed(self) -> str:
        return self.output.read_text()

    def facts(self) -> dict[str, Any]:
        facts: dict[str, Any] = json.loads((self.state / "up.json").read_text())
        return facts

    def pid(self, part: str) -> int:
        return int(self.facts()["pids"][part])

    def family(self) -> list[psutil.Process]:
        assert self.process is not None
        me = psutil.Process(self.process.pid)
        return [me, *me.children(recursive=True)]

    def wait_for_another(self, part: str, old: int) -> int:
        deadline = time.monotonic() + 60
        while (new := self.facts()["pids"].get(part, old)) == old or f"{part:<10}  ready" not in self.printed():
            assert time.monotonic() < deadline, self.printed()
            time.sleep(0.1)
        return int(new)

    def ask(self, message: str) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.facts()['secret_key']}"}
        url = f"{self.facts()['url']}/chat?wait=30"
        answer: dict[str, Any] = requests.post(url, json={"message": message}, headers=headers, timeout=40).json()
        return answer

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            finally:
                self.process.kill()


def left_of(family: list[psutil.Process], timeout_s: float = 25) -> list[psutil.Process]:
    _gone, alive = psutil.wait_procs(family, timeout=timeout_s)
    return [process for process in alive if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """One platform for the tests that leave it running."""
    platform = Platform(tmp_path_factory.mktemp("up") / "state")
    platform.start()
    yield platform
    platform.stop()


@pytest.fixture
def stopped(running: Platform) -> Iterator[Platform]:
    """The same platform for the tests that end it, each in its own way, and that start it again: that is quicker than
    a new one, and shows that none of the endings was harmful. They stand last in this file.
    """
    running.stop()
    yield running
    running.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Platform]:
    platform = Platform(tmp_path / "state")
    yield platform
    platform.stop()


class TestReady:
    """What a stranger finds."""

    def test_facts_for_scripts_are_complete_and_private(self, running: Platform) -> None:
        assert running.facts().keys() >= FIELDS
        for name in ("up.json", "secret_key"):
            assert stat.S_IMODE((running.state / name).stat().st_mode) == 0o600
        assert running.facts()["pids"].keys() == {
            "up", "postgres", "redis", "dispatcher", "worker", "web", "miner"
        }  # fmt: skip

    def test_table_shows_what_the_file_holds(self, running: Platform) -> None:
        facts, printed = running.facts(), running.printed()
        shown = [facts["url"], facts["admin"]["password"], facts["agent"]["email"], facts["agent"]["password"]]
        shown += [facts[name] for name in ("publishable_key", "secret_key", "client_key", "enrolment_token")]
        assert [value for value in shown if value not in printed] == []

    def test_every_part_reports_its_states_on_lines_of_its_own(self, running: Platform) -> None:
        for part in ("postgres", "redis", "migrations", "demo", "dispatcher", "worker", "web", "miner"):
            states = re.findall(rf"^ +[\d.]+ s  {part} +(\w+)", running.printed(), re.MULTILINE)
            assert states[:2] == ["starting", "ready"]

    def test_question_is_answered_from_the_shops_facts(self, running: Platform) -> None:
        answer = running.ask("How much does express shipping cost?")
        assert answer["status"] == "completed"
        assert "£8.95" in answer["response"]

    def test_demo_page_carries_the_widget_with_a_key_that_works_there(self, running: Platform) -> None:
        facts = running.facts()
        page = requests.get(f"{facts['url']}/demo/", timeout=20)
        assert facts["publishable_key"] in page.text
        for origin in (facts["url"], facts["url"].replace("127.0.0.1", "localhost")):
            headers = {"Authorization": f"Bearer {facts['publishable_key']}", "Origin": origin}
            reply = requests.post(f"{facts['url']}/chat", json={"message": "Hello"}, headers=headers, timeout=20)
            assert reply.status_code == 200

    @pytest.mark.parametrize("who", ["admin", "owner", "agent"])
    def test_logins_open_the_admin(self, running: Platform, who: str) -> None:
        facts = running.facts()
        with requests.Session() as session:
            session.get(f"{facts['url']}/admin/login/", timeout=20)
            form = {"username": facts[who]["email"], "password": facts[who]["password"], "next": "/admin/"}
            form["csrfmiddlewaretoken"] = session.cookies["csrftoken"]
            reply = session.post(f"{facts['url']}/admin/login/", data=form, timeout=20, allow_redirects=False)
            assert (reply.status_code, reply.headers["Location"]) == (302, "/admin/")

    def test_other_commands_mean_the_same_database(self, running: Platform) -> None:
        count = "from accounts.models import User; print('users:', User.objects.count())"
        command = [sys.executable, ROOT / "manage.py", "shell", "-v0", "-c", count]
        environment = plain_environment(MIA_STATE_DIR=str(running.state))
        finished = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert "users: 3" in finished.stdout, finished.stderr

    @pytest.mark.parametrize("role", ["web", "worker", "dispatcher"])
    def test_containers_health_checks_see_each_role(self, running: Platform, role: str) -> None:
        command = [sys.executable, ROOT / "deploy" / "healthcheck.py", role]
        environment = plain_environment(PORT=str(running.port), REDIS_URL=running.facts()["redis_url"])
        assert subprocess.run(command, env=environment, check=False).returncode == 0

    @pytest.mark.parametrize("role", ["web", "worker", "dispatcher"])
    def test_containers_health_checks_miss_what_is_not_there(self, own_redis: Redis, role: str) -> None:
        command = [sys.executable, ROOT / "deploy" / "healthcheck.py", role]
        environment = plain_environment(PORT=str(free_port()), REDIS_URL=own_redis.url)
        assert subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 1


class TestRefusals:
    """What goes wrong is said, with what to do."""

    def test_second_up_on_the_same_directory_names_the_first(self, running: Platform) -> None:
        finished = Platform(running.state).run_to_the_end()
        assert finished.returncode == 1
        assert f"kill {running.pid('up')}" in finished.stderr
        assert running.facts()["url"] in finished.stderr

    def test_taken_port_names_its_holder_and_another_port(self, running: Platform, tmp_path: Path) -> None:
        finished = Platform(tmp_path / "other", port=running.port).run_to_the_end()
        assert finished.returncode == 1
        assert re.search(r"Process \d+ has it: .*manage\.py", finished.stderr)
        assert f"--port {running.port + 1}" in finished.stderr
        assert not (tmp_path / "other" / "postgres").exists()

    def test_database_that_does_not_answer_is_named(self, fresh: Platform) -> None:
        finished = fresh.run_to_the_end(DATABASE_URL=f"postgresql://mia@127.0.0.1:{free_port()}/mia")
        assert finished.returncode == 1
        assert "The database refuses" in finished.stderr

    def test_redis_that_does_not_answer_is_named(self, fresh: Platform) -> None:
        finished = fresh.run_to_the_end(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
        assert finished.returncode == 1
        assert "does not answer" in finished.stderr


@pytest.mark.chaos
class TestDeaths:
    """A part that dies is started again; the platform goes on."""

    def test_killed_web_process_turns_no_request_away(self, running: Platform) -> None:
        old = running.pid("web")
        os.kill(old, signal.SIGKILL)
        assert requests.get(f"{running.facts()['url']}/health", timeout=60).status_code == 200
        assert running.wait_for_another("web", old) != old
        assert re.search(r"web was killed by SIGKILL\. Its log, .*web\.log, ends with:", running.printed())
        assert "web is started again in 1 s." in running.printed()

    def test_killed_redis_is_started_again_and_answers_flow(self, running: Platform) -> None:
        old = running.pid("redis")
        os.kill(old, signal.SIGKILL)
        running.wait_for_another("redis", old)
        assert running.ask("When is the shop open?")["status"] == "completed"

    @pytest.mark.parametrize("part", ["worker", "dispatcher", "miner"])
    def test_other_parts_are_started_again(self, running: Platform, part: str) -> None:
        old = running.pid(part)
        os.kill(old, signal.SIGKILL)
        assert psutil.pid_exists(running.wait_for_another(part, old))

    def test_dead_database_stops_everything_and_keeps_what_was_committed(self, stopped: Platform) -> None:
        stopped.start("--no-miner")
        family = stopped.family()
        os.kill(stopped.pid("postgres"), signal.SIGKILL)
        assert stopped.process is not None
        assert stopped.process.wait(60) == 1
        assert left_of(family) == []
        assert "PostgreSQL was killed by SIGKILL" in stopped.printed()
        stopped.start("--no-miner")
        assert stopped.facts()["business_id"] == 1


@pytest.mark.chaos
class TestStop:
    """Nothing is left behind, however it ends."""

    def test_stop_goes_from_the_outside_in_and_a_restart_keeps_every_login_and_key(self, stopped: Platform) -> None:
        stopped.start()
        before, family = stopped.facts(), stopped.family()
        assert stopped.process is not None
        stopped.process.send_signal(signal.SIGINT)
        assert stopped.process.wait(40) == 0
        assert left_of(family, 0) == []
        order = re.findall(r"^ +[\d.]+ s  (\w+) +stopped", stopped.printed(), re.MULTILINE)
        assert order == ["miner", "web", "worker", "dispatcher", "redis", "postgres"]
        assert stopped.facts()["pids"] == {}
        # Four seconds on two quiet cores.
        assert stopped.start() < 30
        after = stopped.facts()
        assert {name: after[name] for name in before if name != "pids"} == {
            name: before[name] for name in before if name != "pids"
        }
        assert stopped.ask("Do you sell gift cards?")["status"] == "completed"

    def test_killed_parent_leaves_no_child(self, stopped: Platform) -> None:
        stopped.start()
        family = stopped.family()
        assert len(family) > 8
        assert stopped.process is not None
        stopped.process.kill()
        stopped.process.wait()
        assert left_of(family) == []

    def test_second_signal_stops_hard(self, stopped: Platform) -> None:
        stopped.start("--no-miner")
        family = stopped.family()
        os.kill(stopped.pid("web"), signal.SIGSTOP)
        assert stopped.process is not None
        stopped.process.terminate()
        time.sleep(0.5)
        begun = time.monotonic()
        stopped.process.terminate()
        assert stopped.process.wait(30) == 0
        assert time.monotonic() - begun < 5
        assert left_of(family, 5) == []

    def test_signal_while_starting_stops_too(self, stopped: Platform) -> None:
        with stopped.output.open("wb") as output:
            stopped.process = subprocess.Popen(stopped.command(), env=plain_environment(), stdout=output)
        while "postgres" not in stopped.printed():
            time.sleep(0.01)
        family = stopped.family()
        stopped.process.terminate()
        assert stopped.process.wait(60) == 0
        assert left_of(family, 5) == []


class TestOwnServers:
    """DATABASE_URL and REDIS_URL."""

    def test_named_servers_are_used_instead(self, fresh: Platform, own_postgres: Postgres, own_redis: Redis) -> None:
        fresh.start("--no-miner", DATABASE_URL=own_postgres.url, REDIS_URL=own_redis.url)
        facts = fresh.facts()
        assert (facts["database_url"], facts["redis_url"]) == (own_postgres.url, own_redis.url)
        assert not {"postgres", "redis", "miner"} & facts["pids"].keys()
        with psycopg.connect(own_postgres.superuser_url) as connection:
            assert connection.execute("SELECT count(*) FROM accounts_business").fetchone() == (1,)
        fresh.stop()
        assert own_postgres.answers()
        assert own_redis.answers()


class TestEnvironment:
    """What commands other than `up` are told."""

    def test_nothing_is_looked_up_where_both_servers_are_named(self, tmp_path: Path) -> None:
        given = {"DATABASE_URL": "postgresql://x/y", "REDIS_URL": "redis://x", "MIA_STATE_DIR": str(tmp_path)}
        environment = dict(given)
        provide_environment(["web"], environment)
        assert environment == given

    def test_named_server_wins_over_the_embedded_one(self, tmp_path: Path) -> None:
        environment = {"REDIS_URL": "redis://elsewhere"}
        provide_environment(["up", "--state-dir", str(tmp_path)], environment)
        assert environment["REDIS_URL"] == "redis://elsewhere"
        assert environment["DATABASE_URL"] == Postgres(tmp_path).url
        assert environment["APP_ENV"] == "development"

    def test_state_directory_is_taken_from_either_spelling(self, tmp_path: Path) -> None:
        for arguments in (["--state-dir", str(tmp_path)], [f"--state-dir={tmp_path}"]):
            environment: dict[str, str] = {}
            provide_environment(["up", *arguments], environment)
            assert environment["REDIS_URL"] == Redis(tmp_path).url

    def test_damaged_facts_are_as_good_as_none(self, tmp_path: Path) -> None:
        (tmp_path / "up.json").write_text("{")
        environment = {"MIA_STATE_DIR": str(tmp_path)}
        provide_environment(["shell"], environment)
        assert environment == {"MIA_STATE_DIR": str(tmp_path)}

    def test_secret_key_is_made_once(self, tmp_path: Path) -> None:
        state = State(tmp_path)
        assert len(state.secret_key()) >= 50
        assert state.secret_key() == State(tmp_path).secret_key()
