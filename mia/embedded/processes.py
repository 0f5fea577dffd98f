"""Child processes that never outlive their parent, with their output in a log file."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cache
from pathlib import Path

from mia.embedded import guardian

LOG_LIMIT_BYTES = 5 * 1024 * 1024


class Stage(IntEnum):
    """Who is stopped first when the parent is gone: the programs, then the stores they write to."""

    PROGRAM = 0
    STORE = 1


class Guardian:
    """The pipe to the process that stops our children should we be killed."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", guardian.__file__],
            stdin=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd="/",
            start_new_session=True,
        )

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        # A guardian that was itself killed must not take the parent with it.
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(f"{order}\n")

    def watch(self, pid: int, stage: Stage, stop_signal: int) -> None:
        self.tell(f"+ {pid} {stage:d} {stop_signal:d}")

    def forget(self, pid: int) -> None:
        self.tell(f"- {pid}")

    def remove_directory_at_the_end(self, directory: Path) -> None:
        self.tell(f"~ {directory}")


@cache
def our_guardian() -> Guardian:
    """One guardian per process, started with the first child."""
    return Guardian()


@dataclass(frozen=True)
class Identity:
    """Whom to run a program as, when not as ourselves."""

    prefix: tuple[str, ...] = ()
    uid: int | None = None
    gid: int | None = None

    @property
    def owner(self) -> tuple[int, int]:
        """Who must own the files that the program writes."""
        return (os.geteuid(), os.getegid()) if self.uid is None or self.gid is None else (self.uid, self.gid)


OURSELVES = Identity()


class Child:
    """A running program in a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], stop_signal: int) -> None:
        self.process = process
        self.stop_signal = stop_signal

    @property
    def pid(self) -> int:
        return self.process.pid

    def exit_code(self) -> int | None:
        code = self.process.poll()
        if code is not None:
            our_guardian().forget(self.pid)
        return code

    def ask_to_stop(self) -> None:
        self.send(self.stop_signal)

    def send(self, number: int) -> None:
        if self.exit_code() is None:
            self.process.send_signal(number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it has ended; after `timeout_s` it may still run."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout_s)
        return self.exit_code() is not None

    def kill(self) -> None:
        """SIGKILL to it and all that it started."""
        for pid in guardian.members(self.pid):
            guardian.send(pid, signal.SIGKILL)
        self.process.wait()
        self.exit_code()

    def stop(self, timeout_s: float) -> None:
        """Ask, wait, kill what is left of its session."""
        self.ask_to_stop()
        self.wait(timeout_s)
        self.kill()


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    env: Mapping[str, str],
    stage: Stage,
    stop_signal: int = signal.SIGTERM,
    identity: Identity = OURSELVES,
    cwd: Path | str = "/",
    pass_fds: Sequence[int] = (),
) -> Child:
    rotate(log)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [*identity.prefix, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=cwd,
            pass_fds=pass_fds,
            user=identity.uid,
            group=identity.gid,
            extra_groups=None if identity.uid is None else [],
            start_new_session=True,
        )
    our_guardian().watch(process.pid, stage, stop_signal)
    return Child(process, stop_signal)


def rotate(log: Path) -> None:
    """Keep one earlier log, so that a program which fails in a loop cannot fill the disk."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT_BYTES:
            log.replace(log.with_suffix(".log.1"))


def tail(log: Path, lines: int = 12) -> list[str]:
    """The last lines of a log, at most 16 KB of them."""
    with contextlib.suppress(FileNotFoundError), log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 16_384))
        return file.read().decode(errors="replace").splitlines()[-lines:]
    return []
