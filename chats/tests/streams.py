"""Readers of the visitors' native lane, called as an ASGI server would call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator

from accounts.tenancy import platform_scope
from chats.routing import http_urlpatterns, websocket_urlpatterns
from miners.models import Job, Miner
from miners.results import Result, accept_result
from miners.services import cancel_job
from miners.tests.lane import Lane, run

__all__ = ["Event", "Reader", "answer", "connect", "in_thread", "run", "stream", "write"]

http_lane = URLRouter(http_urlpatterns)
socket_lane = URLRouter(websocket_urlpatterns)


def in_thread(function: Callable[..., Any]) -> Callable[..., Any]:
    return database_sync_to_async(function, thread_sensitive=False)


@dataclass(frozen=True)
class Event:
    """One server-sent event."""

    kind: str
    id: str
    data: dict[str, Any]


@dataclass
class Reader:
    """A client of an event stream."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes = b""
    events: list[Event] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _read: int = 0

    def take(self, message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.raw += message.get("body", b"")
            self.events = parse(self.raw)
            if not message.get("more_body"):
                self.closed.set()
        self._news.set()

    async def next(self, kind: str, timeout_s: float = 10) -> Event:
        """The next event of a kind, past those of other kinds."""
        async with asyncio.timeout(timeout_s):
            while True:
                while self._read < len(self.events):
                    event = self.events[self._read]
                    self._read += 1
                    if event.kind == kind:
                        return event
                self._news.clear()
                await self._news.wait()

    async def opened(self) -> None:
        async with asyncio.timeout(10):
            while not self.status:
                self._news.clear()
                await self._news.wait()

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    @property
    def text(self) -> str:
        """The answer that a client shows, by the offsets of the deltas."""
        text = ""
        for event in self.events:
            if event.kind == "reset":
                text = ""
            if event.kind == "delta":
                text = text[: event.data["offset"]] + event.data["text"]
        return text


def parse(raw: bytes) -> list[Event]:
    blocks = raw.decode().split("\n\n")[:-1]
    events = []
    for block in blocks:
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "event" in fields:
            events.append(Event(fields["event"], fields.get("id", ""), json.loads(fields["data"])))
    return events


@asynccontextmanager
async def stream(url: str, method: str = "GET", **headers: str) -> AsyncIterator[Reader]:
    """A client that reads an event stream until the block ends, and then goes away."""
    reader = Reader()
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": b"", "more_body": False})
    parts = urlsplit(url)
    scope = {
        "type": "http",
        "method": method,
        "path": parts.path,
        "query_string": parts.query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }

    async def send(message: dict[str, Any]) -> None:
        reader.take(message)

    task = asyncio.create_task(http_lane(scope, inbox.get, send))
    try:
        await reader.opened()
        yield reader
    finally:
        inbox.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(task, 10)


class Socket(WebsocketCommunicator):
    """Channels' own stops giving database connections back while it waits; that would leave one with every thread."""

    async def send_input(self, message: dict[str, Any]) -> None:
        await ApplicationCommunicator.send_input(self, message)

    async def receive_output(self, timeout: float = 1) -> dict[str, Any]:
        return await ApplicationCommunicator.receive_output(self, timeout)


@asynccontextmanager
async def connect(path: str, **headers: str) -> AsyncIterator[Socket]:
    """An open socket."""
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    socket = Socket(socket_lane, path, headers=encoded)
    connected, _ = await socket.connect(timeout=5)
    assert connected
    try:
        yield socket
    finally:
        await socket.disconnect(timeout=5)


async def frame(socket: Socket, kind: str, timeout_s: float = 10) -> dict[str, Any]:
    """The next frame of a kind, past those of other kinds."""
    async with asyncio.timeout(timeout_s):
        while True:
            received = json.loads(await socket.receive_from(timeout=timeout_s))
            if received["type"] == kind:
                return received


async def closing(socket: Socket, timeout_s: float = 10) -> tuple[int, str]:
    """The code and the reason with which the server closes, past frames that come before."""
    async with asyncio.timeout(timeout_s):
        while True:
            message = await socket.receive_output(timeout=timeout_s)
            if message["type"] == "websocket.close":
                return message["code"], message.get("reason", "")


async def take_job(key: str) -> dict[str, Any]:
    """A miner takes one job and acknowledges it."""
    (offer,) = await Lane(key).next(wait=5)
    assert await Lane(key).beat((offer["job_id"], offer["fence"], "decode")) == ["ok"]
    return offer


async def write(key: str, offer: dict[str, Any], *texts: str, start: int = 0) -> None:
    """A miner streams pieces of its answer."""
    for text in texts:
        assert (await Lane(key).chunk(offer, start, text))["verdict"] == "ok"
        start += len(text)


async def answer(miner: Miner, offer: dict[str, Any], output: str, **fields: Any) -> None:
    """A miner hands in its whole answer."""
    result = Result(
        job_id=UUID(offer["job_id"]), fence=int(offer["fence"]), output=output, tokens_generated=7, **fields
    )
    await in_thread(_accept)(miner, result)


def _accept(miner: Miner, result: Result) -> None:
    from django.utils import timezone

    accept_result(miner=miner, result=result, now=timezone.now())


async def cancel(job_id: str) -> None:
    await in_thread(_cancel)(job_id)


def _cancel(job_id: str) -> None:
    from django.utils import timezone

    with platform_scope():
        cancel_job(job=Job.objects.get(pk=job_id), now=timezone.now())
