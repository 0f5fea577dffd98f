"""The sockets of a conversation: visitors and agents, each with the same events, both ways.

Any number of sockets may follow one conversation and none replaces another. Nothing that arrives is passed on as it
came: every outgoing frame is built here or in `events`. While a socket is quiet it holds no thread and no connection.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

from django.utils import timezone

from chats import attendance
from chats.admittance import in_thread, is_own_page
from chats.attendance import Attendant
from chats.following import Follower, Position
from chats.limits import MAX_FRAME_BYTES, MAX_MESSAGE_CHARS
from chats.snapshots import Snapshot, read_snapshot
from mia.lib.drain import drain
from mia.lib.errors import ApplicationError, InvalidRequest, NotAuthenticated, OriginNotAllowed, RateLimited, error_body
from mia.lib.hot import Message, Receive, Scope, Send
from mia.lib.ratelimit import Bucket, atake
from mia.lib.strict_json import parse_strict_json

logger = logging.getLogger(__name__)

POLICY_VIOLATION: Final = 1008
INTERNAL_ERROR: Final = 1011
SERVICE_RESTART: Final = 1012
MAX_REASON_CHARS: Final = 100
AUTH_DEADLINE_S: Final = 5.0
RECHECK_S: Final = 30.0
FRAME_BUCKET: Final = Bucket("chat-frames", rate_per_s=5, burst=20)

Frame = dict[str, Any]


class SocketLeft(Exception):
    """The other side closed."""


class Refused(Exception):
    """The socket is to be closed; the text is the reason that the other side is told."""


class ChatSocket:
    """`/ws/chat/{session_id}/`: the token comes as `?token=` or in a first frame `{"type": "auth", "token": …}`."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        query = scope.get("query_string", b"").decode("ascii", errors="replace")
        self.query = dict(parse_qsl(query, max_num_fields=20) if query.count("&") < 20 else [])

    @classmethod
    def as_asgi(cls) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send).serve()

        return application

    async def serve(self) -> None:
        """The whole life of the socket; the edge of the process for it."""
        if (await self._receive())["type"] != "websocket.connect":
            return
        await self._send({"type": "websocket.accept"})
        try:
            await self._attend(await self._let_in())
        except SocketLeft:
            return
        except Refused as refusal:
            await self._close(POLICY_VIOLATION, str(refusal))
        except ApplicationError as error:
            await self._close(POLICY_VIOLATION, error.detail if isinstance(error.detail, str) else error.code)
        except Exception:
            logger.exception("A socket failed")
            await self._close(INTERNAL_ERROR, "Something went wrong on our side.")

    # --- Coming in

    async def _let_in(self) -> Attendant:
        try:
            async with asyncio.timeout(AUTH_DEADLINE_S):
                token, identifier = await self.credentials()
                attendant = await in_thread(attendance.attend)(token=token, identifier=identifier, now=timezone.now())
        except TimeoutError as error:
            raise NotAuthenticated("No token came in time.") from error
        return attendant

    async def credentials(self) -> tuple[str, str]:
        """The token and the conversation that it should open."""
        token = self.query.get("token")
        if token is None:
            first = await self._read()
            if first.get("type") != "auth":
                raise NotAuthenticated("The first frame must bring the token.")
            token = first.get("token")
        if not isinstance(token, str):
            raise NotAuthenticated("The token must be a text.")
        return token, str(self.scope["url_route"]["kwargs"]["session_id"])

    async def _attend(self, attendant: Attendant) -> None:
        tasks: list[asyncio.Task[None]] = []
        try:
            snapshot = await self._look_in(attendant)
            tasks += [
                asyncio.create_task(self._tell(attendant, snapshot), name="socket-tell"),
                asyncio.create_task(self._listen(attendant), name="socket-listen"),
                asyncio.create_task(self._watch(attendant), name="socket-watch"),
            ]
            ended, _running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            if not drain.is_draining:  # An agent who comes back to another process finds the seat still warm.
                _in_background(in_thread(attendance.leave)(attendant, now=timezone.now()))

    async def _look_in(self, attendant: Attendant) -> Snapshot:
        shown = attendant.shown
        snapshot = await read_snapshot(
            conversation=shown.conversation_id, business_id=shown.business_id, origin=self.headers.get("origin", "")
        )
        if not (attendant.token or snapshot.serves_origin or is_own_page(self.headers)):
            raise OriginNotAllowed
        return snapshot

    # --- While it is open

    async def _tell(self, attendant: Attendant, snapshot: Snapshot) -> None:
        await self._write({"type": "ready", "session_id": str(attendant.shown.conversation_id), "role": attendant.role})
        last_seen = Position.parse(self.query.get("last_event_id", ""))
        async for frames in Follower(attendant.shown, last_seen).follow(snapshot):
            for frame in frames:
                await self._write(frame.event)
        await self._close(SERVICE_RESTART, "Service restart")

    async def _listen(self, attendant: Attendant) -> None:
        while True:
            frame = await self._read()
            try:
                decision = await atake(FRAME_BUCKET, str(attendant.socket_id))
                decision.require()
                await self._act(attendant, frame)
            except RateLimited as error:
                await self._write(
                    {"type": "error", **error_body(error, timezone.now()), "retry_after": error.retry_after_s}
                )
            except ApplicationError as error:
                await self._write({"type": "error", **error_body(error, timezone.now())})

    async def _act(self, attendant: Attendant, frame: Frame) -> None:
        match frame.get("type", "message"):
            case "message":
                await self._say(attendant, message_in(frame))
            case "typing":
                await in_thread(attendance.show_typing)(attendant)
            case "cancel":
                await in_thread(attendance.cancel)(attendant, job_id=job_id_in(frame), now=timezone.now())
            case "ping":
                await self._write({"type": "pong"})
            case _:
                raise InvalidRequest({"type": ["Must be message, typing, cancel or ping."]})

    async def _say(self, attendant: Attendant, message: str) -> None:
        taken = await in_thread(attendance.say)(attendant, message=message, now=timezone.now())
        if taken is not None and taken["job_id"]:
            shown = {"job_id": taken["job_id"], "position": taken["position"], "eta_ms": taken["eta_ms"]}
            await self._write({"type": "queued", **shown})

    async def _watch(self, attendant: Attendant) -> None:
        """Ends the socket when its token does; looks every half minute whether the token was revoked."""
        while True:
            left_s = RECHECK_S if attendant.expires_at is None else attendant.expires_at - time.time()
            if left_s <= 0:
                raise NotAuthenticated("The token has expired.")
            await asyncio.sleep(min(left_s, RECHECK_S))
            await in_thread(attendance.still_attends)(attendant, now=timezone.now())

    # --- Frames

    async def _read(self) -> Frame:
        message: Message = await self._receive()
        if message["type"] == "websocket.disconnect":
            raise SocketLeft
        return frame_in(message.get("text"))

    async def _write(self, frame: Frame) -> None:
        text = json.dumps(frame, ensure_ascii=False, separators=(",", ":"), default=str)
        await self._send({"type": "websocket.send", "text": text})

    async def _close(self, code: int, reason: str) -> None:
        await self._send({"type": "websocket.close", "code": code, "reason": reason[:MAX_REASON_CHARS]})


class SeedSocket(ChatSocket):
    """`/api/chat/ws`: the first frame is `{"token": …, "conversation_id": …}`."""

    async def credentials(self) -> tuple[str, str]:
        first = await self._read()
        token, conversation_id = first.get("token"), first.get("conversation_id")
        if isinstance(conversation_id, int) and not isinstance(conversation_id, bool):
            conversation_id = str(conversation_id)
        if not isinstance(token, str) or not isinstance(conversation_id, str):
            raise NotAuthenticated("The first frame must bring token and conversation_id.")
        return token, conversation_id


def frame_in(text: object) -> Frame:
    """The JSON object of a text frame; raises Refused."""
    if not isinstance(text, str):
        raise Refused("Send text frames.")
    encoded = text.encode("utf-8", errors="surrogatepass")
    if len(encoded) > MAX_FRAME_BYTES:
        raise Refused(f"A frame may have {MAX_FRAME_BYTES} bytes.")
    try:
        frame = parse_strict_json(encoded)
    except InvalidRequest as error:
        raise Refused(str(error)) from error
    if not isinstance(frame, dict):
        raise Refused("A frame must be a JSON object.")
    return frame


def message_in(frame: Frame) -> str:
    """The words of a message frame; raises InvalidRequest."""
    message = frame.get("message", frame.get("content"))
    if not isinstance(message, str) or not message.strip():
        raise InvalidRequest({"message": ["This field may not be blank."]})
    if len(message) > MAX_MESSAGE_CHARS:
        raise InvalidRequest({"message": [f"Ensure this field has no more than {MAX_MESSAGE_CHARS} characters."]})
    return message.strip()


def job_id_in(frame: Frame) -> UUID:
    try:
        return UUID(str(frame.get("job_id")))
    except ValueError as error:
        raise InvalidRequest({"job_id": ["Must be a valid UUID."]}) from error


_background: set[asyncio.Future[None]] = set()


def _in_background(work: Awaitable[None]) -> None:
    """Lets work end although its socket is gone; the set keeps it alive."""
    task = asyncio.ensure_future(work)
    _background.add(task)
    task.add_done_callback(_background.discard)
