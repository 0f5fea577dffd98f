"""`manage.py up`: the whole platform on this machine, with a demo shop to try it on."""

import contextlib
import http.client
import json
import os
import secrets
import socket
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import psutil
import redis
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from mia.embedded.board import Board, PartState
from mia.embedded.errors import EmbeddedServiceError
from mia.embedded.postgres import Postgres
from mia.embedded.redis import Redis
from mia.embedded.state import State, chosen_directory
from mia.embedded.supervisor import TICK_S, Program, StoppedByUser, Supervisor
from mia.server.listening import listen

PARTS: Final = ("postgres", "redis", "migrations", "demo", "dispatcher", "worker", "web", "miner")
SETTLED_S: Final = 1.0
"""A program that says nothing of itself counts as ready when it has lived this long."""
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Command(BaseCommand):
    """Starts PostgreSQL, Redis, migrations, the demo, dispatcher, worker, web and a miner; watches them; stops them."""

    help = "Start everything on this machine, with a demo shop. Ctrl-C stops it all."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--port", type=int, default=settings.PORT, help="port to listen on (default: %(default)s)")
        parser.add_argument("--bind", default="127.0.0.1", help="address to listen on (default: %(default)s)")
        parser.add_argument("--no-miner", action="store_true", help="start no miner on this machine")
        parser.add_argument("--state-dir", help="where data, logs and keys are kept (.mia)")

    def handle(self, *, port: int, bind: str, no_miner: bool, **_options: Any) -> None:
        # manage.py has read --state-dir already, for the settings.
        state = State(chosen_directory(sys.argv, os.environ))
        try:
            with state.held(), claimed_port(bind, port) as listener:
                Up(state, Board(sys.stdout, PARTS), listener, with_miner=not no_miner).run()
        except EmbeddedServiceError as error:
            raise CommandError(str(error)) from error


class Up:
    """One run, from the first server's start to the last one's end."""

    def __init__(self, state: State, board: Board, listener: socket.socket, *, with_miner: bool) -> None:
        self.state = state
        self.board = board
        self.listener = listener
        self.with_miner = with_miner
        self.supervisor = Supervisor(board)
        self.known = state.read_facts()
        self.facts: dict[str, Any] = {}

    @property
    def url(self) -> str:
        host, port = self.listener.getsockname()[:2]
        return f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}"  # noqa: S104 - compared, not bound

    def run(self) -> None:
        self.supervisor.listen_for_signals()
        self.state.set_old_logs_aside()
        settings.STATIC_ROOT.mkdir(exist_ok=True)  # WhiteNoise warns where there is none
        if self.known:
            self.state.write_facts(self.known | {"pids": {}})
        try:
            self.start()
            while True:
                self.supervisor.tick()
                self.write_facts()
                time.sleep(TICK_S)
        except StoppedByUser:
            self.board.say("\nStopping. Once more stops hard.")
        finally:
            self.supervisor.stop()
            if self.facts:
                self.state.write_facts(self.facts | {"pids": {}})

    def start(self) -> None:
        postgres, redis_server = Postgres(self.state.directory), Redis(self.state.directory)
        if os.environ["DATABASE_URL"] == postgres.url:
            self.supervisor.postgres = postgres
        else:
            self.board.show("postgres", PartState.READY, "the one that DATABASE_URL names")
        if os.environ["REDIS_URL"] == redis_server.url:
            self.supervisor.redis = redis_server
        else:
            check_redis()
            self.board.show("redis", PartState.READY, "the one that REDIS_URL names")
        self.supervisor.start_servers()
        self.prepare()
        self.start_programs()
        self.write_facts()
        self.board.say(self.table())

    def prepare(self) -> None:
        self.board.show("migrations", PartState.STARTING)
        try:
            for alias in connections:
                call_command("migrate", database=alias, interactive=False, verbosity=0)
            self.board.show("migrations", PartState.READY)
            self.supervisor.check_signals()
            self.board.show("demo", PartState.STARTING)
            self.facts = self.known | dict(bootstrap(self.known, self.origins()))
        except DatabaseError as error:
            raise EmbeddedServiceError(f"The database refuses: {error}") from error
        finally:
            close_database()
        self.facts |= {
            "url": self.url,
            "miner_name": self.miner_name(),
            "database_url": os.environ["DATABASE_URL"],
            "redis_url": os.environ["REDIS_URL"],
        }
        self.board.show("demo", PartState.READY)

    def origins(self) -> list[str]:
        port = self.listener.getsockname()[1]
        return list(dict.fromkeys([self.url, f"http://127.0.0.1:{port}", f"http://localhost:{port}"]))

    def miner_name(self) -> str:
        """A miner's key belongs to one platform and one address; under another it registers anew."""
        if self.known.get("url") == self.url and self.known.get("business_id") == self.facts["business_id"]:
            return str(self.known["miner_name"])
        return f"{socket.gethostname()}-{secrets.token_hex(2)}"

    def start_programs(self) -> None:
        programs = [self.dispatcher(), self.worker(), self.web()]
        for program in programs:
            self.supervisor.start(program)
        self.supervisor.wait_until_ready()
        if self.with_miner:
            self.supervisor.start(self.miner())
            self.supervisor.wait_until_ready()
        else:
            self.board.show("miner", PartState.STOPPED, "not wanted; start one with ./dev miner")

    def dispatcher(self) -> Program:
        return self.program("dispatcher", "dispatcher", is_ready=has_settled)

    def worker(self) -> Program:
        return self.program("worker", "rqworker", "default", "training", is_ready=worker_is_registered)

    def web(self) -> Program:
        program = self.program("web", "web", "--fd", str(self.listener.fileno()), is_ready=lambda _pid: self.answers())
        program.note = self.url
        program.pass_fds = [self.listener.fileno()]
        return program

    def miner(self) -> Program:
        name = self.facts["miner_name"]
        command = [sys.executable, "-m", "gpu_miner", "--url", self.url, "--name", name, "--engine", "extractive"]
        return Program(
            name="miner",
            command=[*command, "--state-dir", self.state.directory / "miner"],
            log=self.state.logs / "miner.log",
            environment=self.environment() | {"MIA_ENROLMENT_TOKEN": self.facts["enrolment_token"]},
            is_ready=lambda _pid: self.lists_miner(name),
            note=f"{name}, extractive engine",
            cwd=settings.BASE_DIR,
        )

    def program(self, name: str, *arguments: str, is_ready: Callable[[int], bool]) -> Program:
        return Program(
            name=name,
            command=[sys.executable, settings.BASE_DIR / "manage.py", *arguments],
            log=self.state.logs / f"{name}.log",
            environment=self.environment(),
            is_ready=is_ready,
            advice="Mend what the log names; nothing is lost meanwhile.",
            cwd=settings.BASE_DIR,
        )

    def environment(self) -> dict[str, str]:
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "DEMO_PUBLISHABLE_KEY": self.facts["publishable_key"]}
        if self.listener.getsockname()[0] not in LOOPBACK:
            environment.setdefault("ALLOWED_HOSTS", "*")
        return environment

    def answers(self) -> bool:
        return self.get("/health") is not None

    def lists_miner(self, name: str) -> bool:
        return any(row["name"] == name and row["status"] in {"idle", "busy"} for row in self.get("/miners") or [])

    def get(self, path: str) -> Any:
        """The JSON at a path of ours, or None while there is none."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=2)
        with contextlib.closing(connection), contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            connection.request("GET", path)
            reply = connection.getresponse()
            return json.loads(reply.read()) if reply.status == 200 else None
        return None

    def write_facts(self) -> None:
        children = {name: server.child for name, server in self.supervisor.servers()}
        children |= {program.name: program.child for program in self.supervisor.programs}
        pids = {name: child.pid for name, child in children.items() if child is not None}
        facts = self.facts | {"pids": {"up": os.getpid(), **pids}}
        if facts != self.facts:
            self.facts = facts
            self.state.write_facts(facts)

    def table(self) -> str:
        facts = self.facts
        rows = [
            ("Demo shop with the widget", f"{self.url}/demo/"),
            ("Admin", f"{self.url}/admin/"),
            ("  platform staff", f"{facts['admin']['email']}  {facts['admin']['password']}"),
            ("  owner of the shop", f"{facts['owner']['email']}  {facts['owner']['password']}"),
            ("  agent of the shop", f"{facts['agent']['email']}  {facts['agent']['password']}"),
            ("API documentation", f"{self.url}/docs"),
            ("Publishable key (widget)", facts["publishable_key"]),
            ("Secret key (server)", facts["secret_key"]),
            ("Client key (API)", facts["client_key"]),
            ("Enrolment token (miners)", facts["enrolment_token"]),
            ("All of this, for scripts", str(self.state.facts_file)),
            ("Logs", str(self.state.logs)),
        ]
        width = max(len(label) for label, _value in rows)
        body = "\n".join(f"  {label:<{width}}  {value}" for label, value in rows)
        return f"\nMIA is ready.\n\n{body}\n\nCtrl-C stops everything."


def check_redis() -> None:
    try:
        with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5, socket_connect_timeout=5) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        raise EmbeddedServiceError(f"The Redis that REDIS_URL names does not answer: {error}") from error


def bootstrap(known: Mapping[str, object], origins: list[str]) -> Mapping[str, object]:
    from mia.management.demo import bootstrap_demo  # models, which need the settings

    return bootstrap_demo(known=known, origins=origins)


def close_database() -> None:
    """Nothing of this process stays connected while it only watches."""
    for connection in connections.all():
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]


@contextlib.contextmanager
def claimed_port(bind: str, port: int) -> Iterator[socket.socket]:
    """The port, held for the whole run: web processes come and go on it and no visitor is turned away."""
    try:
        listener = listen(bind, port)
    except OSError as error:
        raise EmbeddedServiceError(
            f"Cannot listen on {bind} port {port}: {error.strerror}.{holder_of(port)}\n"
            f"Stop what uses it, or choose another port: ./dev up --port {port + 1}"
        ) from error
    with listener:
        yield listener


def holder_of(port: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port:
                command = " ".join(psutil.Process(connection.pid).cmdline())[:120] if connection.pid else "?"
                return f" Process {connection.pid} has it: {command}"
    return ""


def has_settled(pid: int) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return time.time() - psutil.Process(pid).create_time() > SETTLED_S
    return False


def worker_is_registered(pid: int) -> bool:
    """RQ lists its workers in Redis, with their process numbers."""
    with (
        contextlib.suppress(redis.RedisError),
        redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=2) as client,
    ):
        names = client.smembers("rq:workers")
        return any(client.hget(name, "pid") == str(pid).encode() for name in names)
    return False
