"""HTTP connections and requests: limits on what may arrive and how slowly, refusals in the platform's shape."""

import json
import time
from collections.abc import MutableMapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mia.lib.errors import ApplicationError, InvalidRequest, PayloadTooLarge, ServerError, Unavailable, error_body
from mia.server.reactor import reactor

from daphne.http_protocol import HTTPFactory, WebRequest  # isort: skip - after the reactor
from twisted.web import http  # isort: skip

if TYPE_CHECKING:
    from mia.server.serve import Server

Message = MutableMapping[str, Any]

HEADERS_TIMEOUT_S: Final = 10.0
BODY_TIMEOUT_S: Final = 20.0
SLOWEST_BODY_BYTES_PER_S: Final = 32 * 1024
UNREAD_TIMEOUT_S: Final = 30.0
"""How long a client may leave an answer unread before its connection, and the memory it fills, are let go."""
KEEP_ALIVE_S: Final = 75.0
LINGER_S: Final = 5.0
"""How long a refused body is thrown away, so that the refusal is read before the connection resets."""
STATUS_LINES: Final = {408: "Request Timeout", 413: "Content Too Large", 400: "Bad Request"}


class RequestTimeout(ApplicationError):
    """The request arrived too slowly."""

    status = 408
    code = "REQUEST_TIMEOUT"
    default_detail = "The request did not arrive in time."


def encoded(error: ApplicationError) -> bytes:
    return json.dumps(error_body(error, datetime.now(UTC))).encode()


class Request(WebRequest):  # type: ignore[misc]
    """One HTTP request: its body stays under the limit, its refusals have the platform's shape."""

    body_bytes = 0

    def __init__(self, *args: object, **options: object) -> None:
        # Twisted would parse forms that the application parses again.
        super().__init__(*args, **options, parsePOSTFormSubmission=False)

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        self.body_bytes += len(data)
        if self.body_bytes > self.channel.body_limit:
            self.channel.refuse(PayloadTooLarge())
        else:
            super().handleContentChunk(data)

    def process(self) -> object:
        return None if self.channel.refused else super().process()

    def handle_reply(self, message: Message) -> None:
        if message["type"] == "http.response.start" and self.server.drains and self.channel is not None:
            self.close_after_this()
        super().handle_reply(message)

    def close_after_this(self) -> None:
        self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.channel.persistent = False

    def begin_drain(self) -> None:
        if not self._response_started and self.channel is not None:
            self.close_after_this()

    def basic_error(self, status: int, status_text: bytes, body: str) -> None:
        """Daphne's own refusals, which it would write as a page."""
        errors: dict[int, ApplicationError] = {400: InvalidRequest(body), 503: Unavailable()}
        content = encoded(errors.get(status) or ServerError())
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))]
        self.handle_reply({"type": "http.response.start", "status": status, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": content})


class Channel(http.HTTPChannel):  # type: ignore[misc]
    """One HTTP connection, with its clock: when a request began to arrive, and when the client last read."""

    requestFactory = Request  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self.refused = False
        self.body_limit = 0
        self.idle_since = time.monotonic()
        self.arriving_since: float | None = None
        self.arrival_timeout_s = HEADERS_TIMEOUT_S
        self.sent = (0, 0)
        self.sent_at = self.idle_since

    @property
    def server(self) -> "Server":
        return self.factory.server  # type: ignore[no-any-return]

    @property
    def is_open(self) -> bool:
        return bool(self.transport is not None and self.transport.connected)

    @property
    def is_idle(self) -> bool:
        """No request on it and none arriving; a socket that grew out of it is never idle."""
        return not self._handlingRequest and self.arriving_since is None

    def connectionMade(self) -> None:  # noqa: N802
        super().connectionMade()
        self.server.channels.add(self)

    def connectionLost(self, reason: object) -> None:  # noqa: N802
        self.server.channels.discard(self)
        super().connectionLost(reason)

    def dataReceived(self, data: bytes) -> None:  # noqa: N802
        if self.refused:
            return
        if self.is_idle:
            self.arriving_since = time.monotonic()
            self.arrival_timeout_s = HEADERS_TIMEOUT_S
        super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:  # noqa: N802
        if not self.refused:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        if not self.refused:
            super().rawDataReceived(data)

    def allHeadersReceived(self) -> None:  # noqa: N802
        self.body_limit = self.server.body_limit(self._path)
        if self.length is not None and self.length > self.body_limit:
            # Before Twisted answers `Expect: 100-continue`.
            self.refuse(PayloadTooLarge())
            return
        self.arrival_timeout_s = HEADERS_TIMEOUT_S + BODY_TIMEOUT_S + self.body_limit / SLOWEST_BODY_BYTES_PER_S
        super().allHeadersReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:  # noqa: N802
        if self.server.drains:
            request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
            return False
        return bool(super().checkPersistence(request, version))

    def allContentReceived(self) -> None:  # noqa: N802
        self.arriving_since = None
        super().allContentReceived()

    def requestDone(self, request: Request) -> None:  # noqa: N802
        self.idle_since = time.monotonic()
        super().requestDone(request)

    def refuse(self, error: ApplicationError) -> None:
        """Answer at once, throw away what still comes, and close."""
        if self.refused:
            return
        self.refused = True
        content = encoded(error)
        self.transport.write(
            f"HTTP/1.1 {error.status} {STATUS_LINES[error.status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode()
            + content
        )
        self.transport.loseWriteConnection()
        reactor.callLater(LINGER_S, self.transport.abortConnection)

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802
        self.refuse(InvalidRequest("The request line or a header is too long."))

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        self.refuse(InvalidRequest("The request is not valid HTTP."))

    def check_clock(self, now: float) -> None:
        if self.arriving_since is not None and now - self.arriving_since > self.arrival_timeout_s:
            self.refuse(RequestTimeout())
        sent = (len(self.transport.dataBuffer), self.transport.offset)
        if not self.transport.producerPaused or sent != self.sent:
            self.sent, self.sent_at = sent, now
        elif now - self.sent_at > UNREAD_TIMEOUT_S:
            self.transport.abortConnection()


class Factory(HTTPFactory):  # type: ignore[misc]
    """Makes our connections instead of Daphne's."""

    protocol = Channel

    def __init__(self, server: "Server") -> None:
        super().__init__(server)
        self.timeOut = KEEP_ALIVE_S

    def buildProtocol(self, addr: object) -> Channel:  # noqa: N802
        channel: Channel = http.HTTPFactory.buildProtocol(self, addr)
        return channel
