"""A small process that outlives its parent only to stop what the parent had started.

It runs as a plain script, without site-packages, and reads one order per line from the parent's pipe:
`+ <session> <stage> <signal>` watches a session, `- <session>` forgets it, `~ <directory>` is removed at the end.
When the pipe closes, however the parent died, the sessions still watched are stopped, stage by stage, and killed if
they linger. A session, not a process group, because an RQ work horse makes a group of its own.
"""

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

GRACE_S = 8.0
POLL_S = 0.05


class Watched(NamedTuple):
    """A session to stop: in which stage, and with which signal to its leader."""

    stage: int
    signal: int


def members(session: int) -> list[int]:
    """The living processes of a session, its leader included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # The name in brackets may hold blanks; after it come state, parent, group and session.
            state, _parent, _group, owner = stat.read_text(errors="replace").rpartition(")")[2].split()[:4]
            if int(owner) == session and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def stop(watched: dict[int, Watched], grace_s: float = GRACE_S) -> None:
    for stage in sorted({entry.stage for entry in watched.values()}):
        sessions = [session for session, entry in watched.items() if entry.stage == stage]
        for session in sessions:
            send(session, watched[session].signal)
        deadline = time.monotonic() + grace_s
        while time.monotonic() < deadline and any(members(session) for session in sessions):
            time.sleep(POLL_S)
        for session in sessions:
            for pid in members(session):
                send(pid, signal.SIGKILL)


def main() -> None:
    # The terminal's signals are for the parent; the pipe tells when it has gone.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    watched: dict[int, Watched] = {}
    directories: list[str] = []
    for line in sys.stdin:
        order, rest = line.rstrip("\n").split(" ", 1)
        if order == "+":
            session, stage, stop_signal = (int(word) for word in rest.split())
            watched[session] = Watched(stage, stop_signal)
        elif order == "-":
            watched.pop(int(rest), None)
        else:
            directories.append(rest)
    stop(watched)
    for directory in directories:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
