"""Native HTTP endpoints for the paths that wait or run hot, routed by Channels ahead of Django.

Django's ASGI handler pins one thread to every open request, and Channels' own HTTP consumer neither sees a client
leave nor spares a channel and a thread hop per request. An endpoint here costs two tasks while it waits: the
server's, which works, and one that watches the client. When the client leaves, the work is cancelled.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar
from urllib.parse import parse_qsl

from django.conf import settings
from django.urls import path
from django.utils import timezone

from mia.lib.api import application_error
from mia.lib.errors import (
    ApplicationError,
    InvalidRequest,
    MethodNotAllowed,
    PayloadTooLarge,
    ServerError,
    UnsupportedMediaType,
    error_body,
)
from mia.lib.logging import bind_request
from mia.lib.middleware import REQUEST_ID_HEADER, choose_request_id
from mia.lib.strict_json import parse_strict_json

logger = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[str, str]

JSON = "application/json"


@dataclass(frozen=True)
class HotRequest:
    """A request whose whole body has been read."""

    scope: Scope
    body: bytes

    @property
    def method(self) -> str:
        return str(self.scope["method"])

    @property
    def path_arguments(self) -> Mapping[str, Any]:
        return dict(self.scope.get("url_route", {}).get("kwargs", {}))

    @cached_property
    def headers(self) -> Headers:
        """Names in lower case; of a repeated header the last."""
        return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in self.scope["headers"]}

    @cached_property
    def query(self) -> dict[str, str]:
        try:
            return dict(parse_qsl(self.scope["query_string"].decode("ascii"), max_num_fields=50, errors="strict"))
        except (UnicodeDecodeError, ValueError) as error:
            raise InvalidRequest("The query string is malformed.") from error

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; raises UnsupportedMediaType and InvalidRequest."""
        media_type = self.headers.get("content-type", JSON).partition(";")[0].strip().lower()
        if self.body and media_type != JSON:
            raise UnsupportedMediaType
        data = parse_strict_json(self.body)
        if not isinstance(data, dict):
            raise InvalidRequest("The body must be a JSON object.")
        return data

    @property
    def bearer(self) -> str:
        """The key that was sent, or ''."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else self.headers.get("x-api-key", "")


@dataclass(frozen=True)
class HotResponse:
    """A complete answer."""

    data: Mapping[str, Any]
    status: int = 200
    headers: Headers = field(default_factory=dict)

    @property
    def body(self) -> bytes:
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":"), default=str).encode()


def route(pattern: str, application: Any) -> Any:
    """An address of the native lane, or of a socket: Channels routes ASGI applications by Django's patterns."""
    return path(pattern, application)


class ClientLeft(Exception):
    """The client closed the connection."""


class HotEndpoint:
    """One native endpoint: `handle` returns a response, or streams one through `start` and `write` and returns None."""

    methods: ClassVar[frozenset[str]] = frozenset({"GET"})

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self._started = False
        self.request_id = ""

    @classmethod
    def as_asgi(cls) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            await cls(scope, receive, send)._serve()

        return application

    async def handle(self, request: HotRequest) -> HotResponse | None:
        raise NotImplementedError

    def extra_headers(self, request: HotRequest) -> Headers:
        """Headers for every answer to this request, errors included."""
        return {}

    async def start(self, status: int, headers: Headers) -> None:
        self._started = True
        given = {name.lower(): value for name, value in headers.items()}
        common = {"x-content-type-options": "nosniff", REQUEST_ID_HEADER.lower(): self.request_id}
        encoded = [(name.encode(), value.encode("latin-1")) for name, value in (given | common).items()]
        await self._send({"type": "http.response.start", "status": status, "headers": encoded})

    async def write(self, body: bytes, *, more: bool) -> None:
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _serve(self) -> None:
        offered = dict(self.scope["headers"]).get(REQUEST_ID_HEADER.lower().encode(), b"").decode("latin-1")
        self.request_id = choose_request_id(offered)
        with bind_request(self.request_id):
            await self._respond()

    async def _respond(self) -> None:
        try:
            request = HotRequest(scope=self.scope, body=await self._read_body())
        except ClientLeft:
            return
        except ApplicationError as error:
            await self._answer(_error_response(error), {})
            return
        response = await self._work_while_connected(request)
        if response is not None and not self._started:
            await self._answer(response, self.extra_headers(request))

    async def _read_body(self) -> bytes:
        body = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientLeft
            body += message.get("body", b"")
            if len(body) > settings.MAX_BODY_BYTES:
                raise PayloadTooLarge
            if not message.get("more_body"):
                return bytes(body)

    async def _work_while_connected(self, request: HotRequest) -> HotResponse | None:
        """`handle`, cancelled when the client leaves; in this very task, since each stream would pay for another."""
        work = asyncio.current_task()
        assert work is not None
        watch = asyncio.ensure_future(self._cancel_when_client_leaves(work))
        try:
            return await self._guarded(request)
        except asyncio.CancelledError:
            if not watch.done():
                raise
            work.uncancel()
            return None
        finally:
            watch.cancel()

    async def _guarded(self, request: HotRequest) -> HotResponse | None:
        """`handle`, with every failure turned into the one error shape; the edge of the process."""
        if request.method not in self.methods:
            return _error_response(MethodNotAllowed())
        try:
            return await self.handle(request)
        except Exception as exception:
            error = application_error(exception)
            if isinstance(error, ServerError):
                logger.exception("A native endpoint failed: %s", type(self).__name__)
            return _error_response(error)

    async def _cancel_when_client_leaves(self, work: asyncio.Task[object]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        work.cancel()

    async def _answer(self, response: HotResponse, extra: Headers) -> None:
        body = response.body
        headers = {"content-type": JSON, "content-length": str(len(body)), "cache-control": "no-store"}
        await self.start(response.status, {**headers, **extra, **response.headers})
        await self.write(body, more=False)


def _error_response(error: ApplicationError) -> HotResponse:
    headers = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
    return HotResponse(error_body(error, timezone.now()), status=error.status, headers=headers)
