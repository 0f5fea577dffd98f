"""A platform of its own for a measurement: embedded PostgreSQL (durable) and Redis, web processes, a dispatcher."""

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mia.embedded.postgres import Postgres
from mia.embedded.redis import Redis

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Platform:
    """Where it answers, and which processes it is."""

    host: str
    port: int
    web_pid: int
    state: Path


@contextlib.contextmanager
def running_platform(*, dispatcher: bool = True) -> Iterator[Platform]:
    """Starts everything, loads Django in this process against it, and stops it all at the end."""
    with tempfile.TemporaryDirectory(prefix="mia-bench-") as directory:
        state = Path(directory)
        postgres, redis = Postgres(state), Redis(state)
        postgres.start()
        redis.start()
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "APP_ENV": "development",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "mia.settings",
        }
        processes: list[subprocess.Popen[bytes]] = []
        try:
            run_manage("migrate", "-v0").wait()
            port = free_port()
            web = run_manage("web", "--port", str(port))
            processes = [web, *([run_manage("dispatcher")] if dispatcher else [])]
            wait_until_it_answers(port)
            import django

            django.setup()
            yield Platform("127.0.0.1", port, web.pid, state)
        finally:
            stop(processes)
            redis.stop()
            postgres.stop()


@contextlib.contextmanager
def running_database() -> Iterator[None]:
    """PostgreSQL and Redis alone, with Django loaded in this process against them."""
    with tempfile.TemporaryDirectory(prefix="mia-bench-") as directory:
        postgres, redis = Postgres(Path(directory)), Redis(Path(directory))
        postgres.start()
        redis.start()
        os.environ |= {
            "DATABASE_URL": postgres.url,
            "REDIS_URL": redis.url,
            "SECRET_KEY": secrets.token_urlsafe(50),
            "APP_ENV": "development",
            "LOG_LEVEL": "WARNING",
            "DJANGO_SETTINGS_MODULE": "mia.settings",
        }
        try:
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0)
            yield
        finally:
            redis.stop()
            postgres.stop()


def run_manage(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(ROOT / "manage.py"), *arguments], cwd=ROOT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2).read()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def stop(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.send_signal(signal.SIGTERM)
    for process in processes:
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def thread_count(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
