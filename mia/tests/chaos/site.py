"""A platform of real processes on servers of its own: every part of it can be killed and started again."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import requests
from psycopg.rows import DictRow, dict_row

from mia.embedded.postgres import Postgres
from mia.embedded.processes import Child, Stage, spawn, tail
from mia.embedded.redis import Redis
from miners.limits import HEARD_AGAIN

ROOT = Path(__file__).resolve().parents[3]
STRANGE = ("DATABASE_URL", "REDIS_URL", "SECRET_KEY", "APP_ENV", "DJANGO_SETTINGS_MODULE", "TEST_DATABASE_URL")
READY_S = 60.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """The condition's value as soon as it is true."""
    give_up_at = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < give_up_at, f"waited {seconds:.0f} s in vain: {what}"
        time.sleep(0.03)
    return value


@dataclass
class Site:
    """PostgreSQL, Redis, web processes on one port, and a dispatcher."""

    directory: Path
    port: int = field(default_factory=free_port)
    facts: dict[str, Any] = field(default_factory=dict)
    webs: list[Child] = field(default_factory=list)
    dispatcher: Child | None = None

    def __post_init__(self) -> None:
        self.postgres = Postgres(self.directory, max_connections=80)
        self.redis = Redis(self.directory)
        self._secret = secrets.token_urlsafe(50)
        self._started = 0
        self._whole_since = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        inherited = {name: value for name, value in os.environ.items() if name not in STRANGE}
        return inherited | {
            "APP_ENV": "test",
            "SECRET_KEY": self._secret,
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": self.redis.url,
            "PYTHONPATH": str(ROOT),
        }

    # --- Starting and stopping

    def start(self, *, miners: int = 0, webs: int = 1) -> None:
        self.postgres.start()
        self.redis.start()
        command = [sys.executable, "-m", "mia.tests.chaos.seeding", str(miners)]
        seeded = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        assert seeded.returncode == 0, seeded.stderr
        self.facts = json.loads(seeded.stdout)
        self.start_dispatcher()
        for _ in range(webs):
            self.launch_web()
        self.wait_until_ready()

    def stop(self) -> None:
        for child in [*self.webs, *([self.dispatcher] if self.dispatcher else [])]:
            child.kill()
        self.postgres.stop()
        self.redis.stop()

    def launch_web(self) -> Child:
        web = self.run("web", "web", "--port", str(self.port), "--reuse-port")
        self.webs.append(web)
        return web

    def kill_web(self, web: Child) -> None:
        web.kill()
        self.webs.remove(web)

    def start_dispatcher(self) -> None:
        self.dispatcher = self.run("dispatcher", "dispatcher")
        self._whole_since = time.monotonic()

    def settle(self) -> None:
        """Waits until an outage is so long ago that the dispatcher charges silence to miners again."""
        time.sleep(max(0.0, self._whole_since + HEARD_AGAIN.total_seconds() + 2.5 - time.monotonic()))

    def run(self, name: str, *arguments: str) -> Child:
        self._started += 1
        log = self.directory / "logs" / f"{name}-{self._started}.log"
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return spawn(command, log=log, env=self.environment, stage=Stage.PROGRAM, cwd=ROOT)

    def wait_until_ready(self) -> None:
        until(self.answers, f"the site to answer; {self.log()}", READY_S)
        self._whole_since = time.monotonic()

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/health", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    def log(self) -> str:
        logs = sorted((self.directory / "logs").glob("web-*.log"))
        return "\n".join(tail(logs[-1])) if logs else ""

    def crash_postgres(self) -> None:
        """SIGKILL to the postmaster and every backend."""
        self.postgres.crash()

    def start_postgres(self) -> None:
        self.postgres.start()
        self._whole_since = time.monotonic()

    def empty_redis(self) -> None:
        with self.redis.client() as client:
            client.flushall()
        self._whole_since = time.monotonic()

    def start_redis(self) -> None:
        self.redis.start()
        self._whole_since = time.monotonic()

    def stop_postgres_at_once(self) -> None:
        """Immediate shutdown: sessions are cut, the log is replayed at the next start."""
        assert self.postgres.child is not None
        self.postgres.child.send(signal.SIGQUIT)
        self.postgres.child.wait(20)

    # --- Looking inside

    def sql(self, query: str, *parameters: Any) -> list[DictRow]:
        """Rows as the superuser sees them, past row-level security."""
        with psycopg.connect(self.postgres.superuser_url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def job(self, job_id: str) -> DictRow:
        (row,) = self.sql("SELECT * FROM miners_job WHERE id = %s", job_id)
        return row

    def attempts(self, job_id: str) -> list[DictRow]:
        return self.sql("SELECT * FROM miners_attempt WHERE job_id = %s ORDER BY number", job_id)

    def miner(self, miner_id: int) -> DictRow:
        (row,) = self.sql("SELECT * FROM miners_miner WHERE id = %s", miner_id)
        return row

    def miner_named(self, name: str) -> DictRow:
        (row,) = self.sql("SELECT * FROM miners_miner WHERE name = %s", name)
        return row

    def wait_for_state(self, job_id: str, state: str, seconds: float = 20.0) -> DictRow:
        until(lambda: self.job(job_id)["state"] == state, f"job to be {state}; it is {self.job(job_id)}", seconds)
        return self.job(job_id)
