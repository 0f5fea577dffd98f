"""Keeps programs running: starts them, says when they are ready, restarts those that die, stops all in order."""

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Final

from mia.embedded.board import Board, PartState
from mia.embedded.errors import EmbeddedServiceError
from mia.embedded.postgres import Postgres
from mia.embedded.processes import Child, Stage, spawn, tail
from mia.embedded.redis import Redis

TICK_S: Final = 0.1
LONG_START_S: Final = 60.0
FIRST_BACKOFF_S: Final = 1.0
LONGEST_BACKOFF_S: Final = 30.0
STEADY_S: Final = 60.0
"""After running this long a program's earlier deaths are forgotten."""


class StoppedByUser(Exception):
    """Ctrl-C or SIGTERM came."""


@dataclass
class Program:
    """One program of ours, how to know that it is ready, and what a person can do when it dies."""

    name: str
    command: Sequence[str | Path]
    log: Path
    environment: Mapping[str, str]
    is_ready: Callable[[int], bool]
    note: str = ""
    advice: str = ""
    cwd: Path | str = "/"
    pass_fds: Sequence[int] = ()
    stop_timeout_s: float = 12.0
    child: Child | None = field(init=False, default=None)
    state: PartState = field(init=False, default=PartState.WAITING)
    started_at: float = field(init=False, default=0.0)
    restart_at: float = field(init=False, default=0.0)
    deaths: int = field(init=False, default=0)

    def start(self, now: float) -> None:
        self.child = spawn(
            self.command,
            log=self.log,
            env=self.environment,
            stage=Stage.PROGRAM,
            cwd=self.cwd,
            pass_fds=self.pass_fds,
        )
        self.started_at, self.state = now, PartState.STARTING

    def backoff_s(self) -> float:
        return backoff_s(self.deaths)


class Supervisor:
    """Watches programs and the embedded servers they need, until it is told to stop."""

    def __init__(self, board: Board) -> None:
        self.board = board
        self.programs: list[Program] = []
        self.postgres: Postgres | None = None
        self.redis: Redis | None = None
        self.redis_deaths = 0
        self.redis_restart_at = 0.0
        self.stop_requests = 0

    def listen_for_signals(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.on_signal)

    def on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.stop_requests += 1

    def check_signals(self) -> None:
        if self.stop_requests:
            raise StoppedByUser

    def start_servers(self) -> None:
        """Both at once; raises EmbeddedServiceError."""
        for name, server in self.servers():
            self.board.show(name, PartState.STARTING)
            server.launch()
        for name, server in self.servers():
            server.wait_until_ready()
            if isinstance(server, Postgres):
                server.prepare_database()
            self.board.show(name, PartState.READY, f"process {server.child.pid}" if server.child else "")
            self.check_signals()

    def servers(self) -> list[tuple[str, Postgres | Redis]]:
        found: list[tuple[str, Postgres | Redis | None]] = [("postgres", self.postgres), ("redis", self.redis)]
        return [(name, server) for name, server in found if server is not None]

    def start(self, program: Program) -> None:
        self.programs.append(program)
        program.start(time.monotonic())
        self.board.show(program.name, PartState.STARTING)

    def wait_until_ready(self) -> None:
        """Return when every program is ready; one that dies meanwhile is restarted like later."""
        while any(program.state != PartState.READY for program in self.programs):
            self.tick()
            time.sleep(TICK_S)

    def tick(self) -> None:
        """One look at everything. Raises StoppedByUser, or EmbeddedServiceError when the database has ended."""
        self.check_signals()
        now = time.monotonic()
        self.check_postgres()
        self.check_redis(now)
        for program in self.programs:
            self.check(program, now)

    def check_postgres(self) -> None:
        if self.postgres is None or self.postgres.child is None:
            return
        code = self.postgres.child.exit_code()
        if code is not None:
            self.board.show("postgres", PartState.FAILED, ended(code))
            lines = "\n".join(f"    {line}" for line in tail(self.postgres.log))
            raise EmbeddedServiceError(
                f"PostgreSQL {ended(code)}, so everything stops. Its log, {self.postgres.log}, ends with:\n{lines}\n"
                "Nothing that was committed is lost: start again with ./dev up."
            )

    def check_redis(self, now: float) -> None:
        if self.redis is None:
            return
        if self.redis.child is not None and (code := self.redis.child.exit_code()) is not None:
            self.redis_deaths += 1
            self.redis.child = None
            self.redis_restart_at = now + backoff_s(self.redis_deaths)
            self.board.show("redis", PartState.FAILED, ended(code))
            self.tell_death("redis", ended(code), self.redis.log, self.redis_restart_at - now, "")
        elif self.redis.child is None and now >= self.redis_restart_at:
            self.redis.launch()
            self.board.show("redis", PartState.STARTING)
        elif self.board.lines["redis"][0] == PartState.STARTING and self.redis.answers():
            self.board.show("redis", PartState.READY)

    def check(self, program: Program, now: float) -> None:
        if program.state == PartState.FAILED:
            if now >= program.restart_at:
                program.start(now)
                self.board.show(program.name, PartState.STARTING)
            return
        assert program.child is not None
        code = program.child.exit_code()
        if code is not None:
            self.bury(program, code, now)
        elif program.state == PartState.STARTING:
            self.check_start(program, now)
        elif program.deaths and now - program.started_at > STEADY_S:
            program.deaths = 0

    def check_start(self, program: Program, now: float) -> None:
        assert program.child is not None
        if program.is_ready(program.child.pid):
            program.state = PartState.READY
            self.board.show(program.name, PartState.READY, program.note)
        elif now - program.started_at > LONG_START_S:
            self.board.show(program.name, PartState.STARTING, f"for over a minute; see {program.log}")

    def bury(self, program: Program, code: int, now: float) -> None:
        assert program.child is not None
        program.child.kill()  # what it may have left behind
        program.deaths += 1
        program.state, program.restart_at = PartState.FAILED, now + program.backoff_s()
        self.board.show(program.name, PartState.FAILED, ended(code))
        self.tell_death(program.name, ended(code), program.log, program.backoff_s(), program.advice)

    def tell_death(self, name: str, how: str, log: Path, restart_in_s: float, advice: str) -> None:
        self.board.say(f"\n{name} {how}. Its log, {log}, ends with:")
        for line in tail(log):
            self.board.say(f"    {line}")
        if advice:
            self.board.say(advice)
        self.board.say(f"{name} is started again in {restart_in_s:.0f} s.\n")

    def stop(self) -> None:
        """The last to start stops first; a further signal meanwhile kills what is left. Leaves no process behind."""
        asked = self.stop_requests
        for program in reversed(self.programs):
            if program.child is not None and program.child.exit_code() is None:
                self.board.show(program.name, PartState.STOPPING)
                self.stop_child(program.child, program.stop_timeout_s, asked)
            self.board.show(program.name, PartState.STOPPED)
        for name, server in reversed(self.servers()):
            self.board.show(name, PartState.STOPPING)
            if server.child is not None:
                self.stop_child(server.child, 15.0, asked)
            self.board.show(name, PartState.STOPPED)

    def stop_child(self, child: Child, timeout_s: float, asked: int) -> None:
        deadline = time.monotonic() + timeout_s
        child.ask_to_stop()
        while self.stop_requests == asked and time.monotonic() < deadline and not child.wait(TICK_S):
            pass
        child.kill()


def backoff_s(deaths: int) -> float:
    """How long to wait after so many deaths in a row."""
    wait_s: float = FIRST_BACKOFF_S * 2 ** (deaths - 1)
    return min(wait_s, LONGEST_BACKOFF_S)


def ended(code: int) -> str:
    """An exit code in words."""
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
