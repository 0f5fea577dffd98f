"""The visitors' hot lane: event streams, and questions whose answer is waited for."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Final
from uuid import UUID

from accounts.middleware import ALLOWED_HEADERS, PREFLIGHT_MAX_AGE_S
from chats.admittance import Admitted, admit, cors_headers
from chats.following import APOLOGY, KEEP_ALIVE_S, Follower, Frame, Position
from chats.limits import MAX_STREAMS_PER_CONVERSATION, MAX_WAIT_S
from chats.querysets import TOPIC_NAME
from chats.replies import STATUS_OF
from chats.snapshots import Work, read_snapshot
from chats.tokens import read_session_token
from mia.lib.drain import drain
from mia.lib.errors import ApplicationError, InvalidRequest, RateLimited, Unavailable
from mia.lib.hot import Headers, HotEndpoint, HotRequest, HotResponse, Message, Receive, Scope, Send
from miners.choices import JobState
from miners.hub import Inbox, hub

Application = Callable[[Scope, Receive, Send], Awaitable[None]]

STREAM_HEADERS: Final = {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store, no-transform",
    "x-accel-buffering": "no",
    "x-content-type-options": "nosniff",
}
PRELUDE: Final = b"retry: 2000\n\n"
KEEP_ALIVE: Final = b": still here\n\n"
LOST_REDIS_POLL_S: Final = 1.0

_open_streams: Counter[UUID] = Counter()


class EventStream(HotEndpoint):
    """`GET /chat/{session_id}/events`: everything that happens in a conversation, as server-sent events."""

    methods: ClassVar[frozenset[str]] = frozenset({"GET", "OPTIONS"})
    _cors: Headers = {}

    def extra_headers(self, request: HotRequest) -> Headers:
        return self._cors

    async def handle(self, request: HotRequest) -> None:
        if request.method == "OPTIONS":
            await self._answer_preflight(request)
            return
        try:
            admitted = await admit(request, request.path_arguments["session_id"])
        except ApplicationError:
            self._cors = await cors_headers(request)
            raise
        self._cors = await cors_headers(request, is_served=admitted.snapshot.serves_origin)
        await self._stream(admitted, Position.parse(request.headers.get("last-event-id", "")))

    async def _stream(self, admitted: Admitted, last_seen: Position | None) -> None:
        conversation_id = admitted.shown.conversation_id
        if _open_streams[conversation_id] >= MAX_STREAMS_PER_CONVERSATION:
            raise RateLimited("Too many streams follow this session.", retry_after_s=5)
        _open_streams[conversation_id] += 1
        try:
            await self.start(200, {**STREAM_HEADERS, **self._cors})
            await self.write(PRELUDE, more=True)
            await self._send_frames(admitted, last_seen)
            await self.write(b"", more=False)
        finally:
            _open_streams[conversation_id] -= 1
            _open_streams.pop(conversation_id, None) if not _open_streams[conversation_id] else None

    async def _send_frames(self, admitted: Admitted, last_seen: Position | None) -> None:
        spoke_at = time.monotonic()
        async for frames in Follower(admitted.shown, last_seen).follow(admitted.snapshot):
            if admitted.expires_at is not None and time.time() > admitted.expires_at:
                return
            if frames:
                await self.write(b"".join(map(encode, frames)), more=True)
            elif time.monotonic() - spoke_at >= KEEP_ALIVE_S - 0.5:
                await self.write(KEEP_ALIVE, more=True)
            else:
                continue
            spoke_at = time.monotonic()

    async def _answer_preflight(self, request: HotRequest) -> None:
        headers = await cors_headers(request)
        if "access-control-allow-origin" in headers:
            headers |= {
                "access-control-allow-methods": "GET, OPTIONS",
                "access-control-allow-headers": ALLOWED_HEADERS,
                "access-control-max-age": str(PREFLIGHT_MAX_AGE_S),
            }
        await self.start(204, headers)
        await self.write(b"", more=False)


def encode(frame: Frame) -> bytes:
    """One server-sent event; JSON has no line break in it, so the data is one line."""
    data = json.dumps(frame.event, ensure_ascii=False, separators=(",", ":"), default=str)
    mark = f"id: {frame.id}\n" if frame.id else ""
    return f"event: {frame.event['type']}\n{mark}data: {data}\n\n".encode()


def waiting_chat(django: Application) -> Application:
    """`POST /chat` as Django serves it, and, where the caller wants to wait, with the answer in the reply."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST" and (b"wait=" in scope["query_string"] or _prefers_to_wait(scope)):
            await WaitingChat(scope, receive, send, django).serve()
        else:
            await django(scope, receive, send)

    return application


def _prefers_to_wait(scope: Scope) -> bool:
    return any(name.lower() == b"prefer" and b"wait=" in value.lower() for name, value in scope["headers"])


class WaitingChat(HotEndpoint):
    """Django takes the question, in a thread that is free again at once; the wait for its answer holds none."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})

    def __init__(self, scope: Scope, receive: Receive, send: Send, django: Application) -> None:
        super().__init__(scope, receive, send)
        self._django = django

    async def serve(self) -> None:
        await self._serve()

    async def handle(self, request: HotRequest) -> HotResponse | None:
        wait_s = wait_of(request)
        reply = await Inner(self._django).ask(request)
        body = reply.body
        if reply.status == 200:
            taken = json.loads(body)
            if taken["job_id"]:
                taken |= await _answer_within(wait_s, taken)
            body = json.dumps(taken, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {**reply.headers, "content-length": str(len(body)), "preference-applied": f"wait={wait_s:g}"}
        await self.start(reply.status, headers)
        await self.write(body, more=False)
        return None


def wait_of(request: HotRequest) -> float:
    """Seconds, from `?wait=` or else from Prefer; raises InvalidRequest."""
    text = request.query.get("wait")
    if text is None:
        preferences = request.headers.get("prefer", "").replace(";", ",").split(",")
        text = next((part.partition("=")[2] for part in preferences if part.strip().lower().startswith("wait=")), "")
    text = text.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= MAX_WAIT_S):
        raise InvalidRequest({"wait": [f"A whole number of seconds from 0 to {MAX_WAIT_S}."]})
    return int(text)


class Inner:
    """A call of an ASGI application from within, with a body that was read already; its whole reply is kept."""

    def __init__(self, application: Application) -> None:
        self._application = application
        self._body: bytes | None = None
        self._parts: list[bytes] = []
        self.status = 500
        self.headers: dict[str, str] = {}

    @property
    def body(self) -> bytes:
        return b"".join(self._parts)

    async def ask(self, request: HotRequest) -> Inner:
        self._body = request.body
        await self._application(request.scope, self._receive, self._send)
        return self

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {
                name.decode("latin-1").lower(): value.decode("latin-1") for name, value in message["headers"]
            }
        else:
            self._parts.append(message.get("body", b""))


async def _answer_within(wait_s: float, taken: dict[str, Any]) -> dict[str, Any]:
    """The fields of the reply that the answer changes; none, when it does not come in time."""
    shown = read_session_token(taken["session_token"])
    work = None
    if shown is not None:
        work = await wait_for_end(shown.conversation_id, shown.business_id, UUID(taken["job_id"]), wait_s)
    if work is None or work.is_live:
        return {}
    fields: dict[str, Any] = {"status": STATUS_OF[work.state], "position": None, "eta_ms": None, "message": APOLOGY}
    if work.state == JobState.COMPLETED:
        fields |= {
            "message": "Job completed successfully",
            "response": work.output,
            "tool_calls": work.tool_calls or None,
            "citations": work.citations,
        }
    return fields


async def wait_for_end(conversation_id: UUID, business_id: int, job_id: UUID, wait_s: float) -> Work | None:
    """The job when it has ended, or as it is when the time is up; None where the database cannot tell."""
    loop = asyncio.get_running_loop()
    until = loop.time() + wait_s
    async with hub().listen(f"{TOPIC_NAME}:{conversation_id}") as inbox:
        unsubscribe = drain.subscribe(lambda: loop.call_soon_threadsafe(inbox.note_gap))
        try:
            while True:
                inbox.clear_gap()
                work = await _read_work(conversation_id, business_id, job_id)
                is_over = work is not None and not work.is_live
                if is_over or drain.is_draining or loop.time() >= until:
                    return work
                await _wait_for_news(inbox, job_id, until)
        finally:
            unsubscribe()


async def _read_work(conversation_id: UUID, business_id: int, job_id: UUID) -> Work | None:
    try:
        snapshot = await read_snapshot(conversation=conversation_id, business_id=business_id, job=job_id)
    except Unavailable:
        return None
    return snapshot.work


async def _wait_for_news(inbox: Inbox, job_id: UUID, until: float) -> None:
    """Returns when the job's end was told, when something may have been missed, or when the time is up."""
    loop = asyncio.get_running_loop()
    while (left_s := until - loop.time()) > 0:
        patience_s = left_s if hub().connected else min(left_s, LOST_REDIS_POLL_S)
        event = await inbox.get(patience_s)
        if event is None or (event.get("type") == "done" and event.get("job_id") == str(job_id)):
            return
