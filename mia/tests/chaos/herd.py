"""Hundreds of parked miners in one thread: each polls, takes what it is given, and comes back when cut off."""

import asyncio
import json
import threading
import time
from types import TracebackType
from typing import Self

from mia.tests.chaos.site import until


class Herd:
    """Polls with every key until it is left; `offered` are the jobs that were given out."""

    def __init__(self, port: int, keys: list[str]) -> None:
        self.offered: list[str] = []
        self.parked = 0
        self._port = port
        self._keys = keys
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._graze()), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(20)

    def wait_until_parked(self, number: int, seconds: float) -> None:
        """Parked is who has asked and was not answered for half a second; a few may be between two polls."""
        if number == 0:
            until(lambda: self.parked == 0, "every poll to be cut off", seconds)
            return
        until(lambda: self.parked >= number * 0.98, f"{number} polls to be parked, {self.parked} are", seconds)
        time.sleep(0.5)

    async def _graze(self) -> None:
        polls = [asyncio.create_task(self._poll(key)) for key in self._keys]
        while not self._stop.is_set():
            await asyncio.sleep(0.05)
        for poll in polls:
            poll.cancel()
        await asyncio.gather(*polls, return_exceptions=True)

    async def _poll(self, key: str) -> None:
        """All come back at once, without the jitter that real miners have."""
        while True:
            try:
                reply = await self._ask(key)
                self.offered += [job["job_id"] for job in reply["jobs"]]
            except (OSError, asyncio.IncompleteReadError, ValueError, KeyError):
                await asyncio.sleep(0.1)

    async def _ask(self, key: str) -> dict[str, list[dict[str, str]]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            head = f"GET /job/next?wait=55&slots=1 HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            await writer.drain()
            self.parked += 1
            try:
                answer = await reader.readuntil(b"\r\n\r\n")
                body = await reader.read()
            finally:
                self.parked -= 1
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ValueError(answer)
            return json.loads(body)  # type: ignore[no-any-return]
        finally:
            writer.close()
