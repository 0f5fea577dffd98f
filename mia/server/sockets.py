"""WebSockets that close with the code and the reason they were told."""

from collections.abc import MutableMapping
from typing import Any, Final

import mia.server.reactor  # noqa: F401 - before Daphne

from autobahn.twisted.websocket import ConnectionDeny  # isort: skip
from daphne.ws_protocol import WebSocketProtocol  # isort: skip

SERVICE_RESTART: Final = 1012
LONGEST_CLOSE_REASON: Final = 123


class Socket(WebSocketProtocol):  # type: ignore[misc]
    """One WebSocket, which may close with the codes that RFC 6455 reserves for servers and with a reason."""

    def handle_reply(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "websocket.close" and self.state == self.STATE_OPEN:
            self.close(message.get("code") or 1000, message.get("reason") or "")
        else:
            super().handle_reply(message)

    def close(self, code: int, reason: str) -> None:
        trimmed = reason.encode()[:LONGEST_CLOSE_REASON].decode(errors="ignore").encode()
        self.sendCloseFrame(code=code, reasonUtf8=trimmed)

    def begin_drain(self) -> None:
        if self.state == self.STATE_OPEN:
            self.close(SERVICE_RESTART, "Service restart")
        elif self.state == self.STATE_CONNECTING and hasattr(self, "handshake_deferred"):
            deferred = self.handshake_deferred
            del self.handshake_deferred
            deferred.errback(ConnectionDeny(code=503, reason="Service restart"))
            self.server.protocol_disconnected(self)
