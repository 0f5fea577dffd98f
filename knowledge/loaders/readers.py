"""A few reading processes, lent to one thread each; one that hangs or dies is replaced and the file gets the blame."""

from __future__ import annotations

import atexit
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, cast

from knowledge.loaders import Prepared
from knowledge.loaders.base import LoadError
from knowledge.loaders.child import LENGTH

ROOT: Final = Path(__file__).resolve().parents[2]
READ_TIMEOUT_S: Final = 60.0
START_TIMEOUT_S: Final = 60.0
READS_BEFORE_RENEWAL: Final = 1_000
"""Libraries written in C keep some of what they took; a new process does not."""


class Reader:
    """One child process; not to be shared between threads."""

    def __init__(self) -> None:
        self.reads = 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "knowledge.loaders.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=reader_environment(),
        )
        with self._ended_after(START_TIMEOUT_S):
            self._answer()

    def prepare(self, content: bytes, *, name: str, declared: str, title: str, timeout_s: float) -> Prepared:
        """Raises LoadError; afterwards the reader may be dead, see `is_alive`."""
        request = json.dumps({"name": name, "declared": declared, "title": title}).encode()
        self.reads += 1
        with self._ended_after(timeout_s) as timer:
            try:
                self._send(LENGTH.pack(len(request), len(content)) + request, content)
                reply = self._answer()
            except (OSError, EOFError) as error:
                self.end()
                if timer.expired:
                    raise LoadError(f"It takes more than {timeout_s:.0f} seconds to read.") from error
                raise LoadError("It takes more memory to read than a file may.") from error
        if "error" in reply:
            raise LoadError(str(reply["error"]))
        return cast("Prepared", reply["prepared"])

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except BrokenPipeError:
                    continue  # what was still to be written to it

    def _send(self, *pieces: bytes) -> None:
        assert self._process.stdin is not None
        for piece in pieces:
            self._process.stdin.write(piece)
        self._process.stdin.flush()

    def _answer(self) -> dict[str, object]:
        assert self._process.stdout is not None
        head = self._process.stdout.read(LENGTH.size)
        if len(head) < LENGTH.size:
            raise EOFError
        body = self._process.stdout.read(LENGTH.unpack(head)[0])
        answer: dict[str, object] = json.loads(body)
        return answer

    @contextmanager
    def _ended_after(self, seconds: float) -> Iterator[_Timer]:
        timer = _Timer(seconds, self._process)
        timer.start()
        try:
            yield timer
        finally:
            timer.cancel()


class _Timer(threading.Timer):
    """Kills a process that does not answer in time."""

    def __init__(self, seconds: float, process: subprocess.Popen[bytes]) -> None:
        super().__init__(seconds, self._expire)
        self.daemon = True
        self.expired = False
        self._victim = process

    def _expire(self) -> None:
        self.expired = True
        self._victim.kill()


def reader_environment() -> dict[str, str]:
    """Nothing of ours goes along: no address of a database, no key."""
    return {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}


def readers_of_this_process(count: int) -> Readers:
    """Kept from one training to the next, and ended with the process; one that was forked has its own."""
    return _kept(os.getpid(), count)


@cache
def _kept(_process_id: int, count: int) -> Readers:
    readers = Readers(count)
    atexit.register(readers.end)
    return readers


class Readers:
    """Up to `count` readers, started when they are needed first."""

    def __init__(self, count: int, *, timeout_s: float = READ_TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._idle: queue.LifoQueue[Reader | None] = queue.LifoQueue()
        for _ in range(count):
            self._idle.put(None)
        self._count = count

    def end(self) -> None:
        """Ends those that are idle; they are started anew when they are needed."""
        for reader in [self._idle.get() for _ in range(self._count)]:
            if reader is not None:
                reader.end()
            self._idle.put(None)

    def prepare(self, content: bytes, *, name: str, declared: str = "", title: str = "") -> Prepared:
        """Waits for a reader that is free. Raises LoadError."""
        reader = self._idle.get()
        try:
            if reader is None or not reader.is_alive() or reader.reads >= READS_BEFORE_RENEWAL:
                if reader is not None:
                    reader.end()
                reader = None
                reader = Reader()
            return reader.prepare(content, name=name, declared=declared, title=title, timeout_s=self._timeout_s)
        finally:
            self._idle.put(reader if reader is not None and reader.is_alive() else None)
