"""Calls the whole platform as its server would: `mia.asgi.application`, by HTTP and by socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.services import forget_keys
from chats.access import forget_bots
from mia.asgi import application
from miners.profiles import forget_all
from miners.tests.lane import platform

HOST = "testserver"
LONGEST_S = 8.0
STREAM_READ_S = 0.15
QUIET_S = 0.4
RUN_S = 300.0


@dataclass
class Answer:
    """A response, or as much of a stream as came at once."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def text(self) -> str:
        """Everything that left the platform: status line aside, the headers and the body."""
        return (
            "\n".join(f"{name}: {value}" for name, value in self.headers.items())
            + "\n\n"
            + self.body.decode(errors="replace")
        )

    def json(self) -> Any:
        return json.loads(self.body)


async def call(
    method: str, path: str, *, query: str = "", body: bytes = b"", headers: Mapping[str, str] | None = None
) -> Answer:
    """One request; a stream is read for a moment and then left."""
    answer = Answer()
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
    is_stream = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode().lower(): value.decode("latin-1") for name, value in message["headers"]}
            return
        answer.body += message.get("body", b"")
        if message.get("more_body"):
            is_stream.set()

    async def leave_streams() -> None:
        await is_stream.wait()
        await asyncio.sleep(STREAM_READ_S)
        inbox.put_nowait({"type": "http.disconnect"})

    leaving = asyncio.create_task(leave_streams())
    try:
        async with asyncio.timeout(LONGEST_S):
            await application(http_scope(method, path, query, headers or {}, body), inbox.get, send)
    finally:
        leaving.cancel()
    return answer


def http_scope(method: str, path: str, query: str, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
    sent = {"host": HOST, **{name.lower(): value for name, value in headers.items()}}
    if body or method not in {"GET", "HEAD", "OPTIONS", "DELETE"}:
        sent = {"content-length": str(len(body)), **sent}
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        "client": ("203.0.113.9", 40_000),
        "server": (HOST, 80),
    }


@dataclass
class Heard:
    """What came out of a socket: its frames, and how it was closed if it was."""

    frames: list[dict[str, Any]] = field(default_factory=list)
    closed: tuple[int, str] | None = None

    @property
    def text(self) -> str:
        return json.dumps(self.frames) + str(self.closed)

    @property
    def kinds(self) -> list[str]:
        return [str(frame.get("type")) for frame in self.frames]


async def talk(
    path: str, *sent: dict[str, Any] | str, headers: Mapping[str, str] | None = None, quiet_s: float = QUIET_S
) -> Heard:
    """Opens a socket, sends each frame once it is quiet there, and listens until it is closed or quiet."""
    heard = Heard()
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "websocket.connect"})
    news = asyncio.Event()

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "websocket.send":
            heard.frames.append(json.loads(message["text"]))
        elif message["type"] == "websocket.close":
            heard.closed = (int(message.get("code", 1000)), str(message.get("reason", "")))
        news.set()

    task = asyncio.create_task(application(socket_scope(path, headers or {}), inbox.get, send))
    try:
        async with asyncio.timeout(LONGEST_S):
            await _until_quiet(heard, news, quiet_s)
            for frame in sent:
                if heard.closed is None:
                    text = frame if isinstance(frame, str) else json.dumps(frame)
                    inbox.put_nowait({"type": "websocket.receive", "text": text})
                    await _until_quiet(heard, news, quiet_s)
    finally:
        inbox.put_nowait({"type": "websocket.disconnect", "code": 1000})
        await asyncio.wait_for(task, LONGEST_S)
    return heard


async def _until_quiet(heard: Heard, news: asyncio.Event, quiet_s: float) -> None:
    while heard.closed is None:
        news.clear()
        try:
            async with asyncio.timeout(quiet_s):
                await news.wait()
        except TimeoutError:
            return


def socket_scope(path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    address, _, query = path.partition("?")
    sent = {"host": HOST, **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": "websocket",
        "path": address,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in sent.items()],
        "subprotocols": [],
        "client": ("203.0.113.9", 40_000),
        "server": (HOST, 80),
    }


def run(scenario: Callable[[], Awaitable[Any]]) -> Any:
    """Runs an asynchronous scenario on the whole platform, from a synchronous test."""

    forget_everything()

    async def inside() -> Any:
        async with platform(), asyncio.timeout(RUN_S):
            return await scenario()

    return asyncio.run(inside())


def forget_everything() -> None:
    """What this process remembers for some seconds: keys, origins, bots and miners."""
    forget_keys()
    forget_bots()
    forget_all()
