"""The server: one ASGI application on one listening socket, drained before it stops."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, MutableMapping
from functools import partial
from typing import Any, Final

from mia.lib.drain import drain
from mia.server.connections import Channel, Factory, Request
from mia.server.listening import notify_ready
from mia.server.mailbox import Mailbox
from mia.server.proxies import believe_proxies
from mia.server.reactor import loop, reactor
from mia.server.sockets import Socket

from daphne import server as daphne_server  # isort: skip - after the reactor
from daphne.ws_protocol import WebSocketFactory  # isort: skip
from twisted.logger import globalLogBeginner  # isort: skip

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]

DRAIN_S: Final = 8.0
IDLE_DRAIN_S: Final = 1.5
"""How long an idle connection stays open while draining: a request may already be on its way on it."""


class Server(daphne_server.Server):  # type: ignore[misc]
    """Serves until SIGTERM or SIGINT, then drains; a second one stops at once."""

    def __init__(
        self,
        application: Callable[..., Any],
        *,
        listener: socket.socket,
        body_limit: Callable[[bytes], int],
        trusted_proxies: int = 0,
    ) -> None:
        super().__init__(
            application,
            endpoints=["the listening socket"],
            signal_handlers=False,
            server_name="MIA",
            websocket_handshake_timeout=10,
        )
        self.listener = listener
        self.body_limit = body_limit
        self.trusted_proxies = trusted_proxies
        self.channels: set[Channel] = set()
        self.connections: dict[Request | Socket, dict[str, Any]] = {}
        self.drains_since: float | None = None

    @property
    def drains(self) -> bool:
        return self.drains_since is not None

    def run(self) -> None:
        self.http_factory = Factory(self)
        self.ws_factory = WebSocketFactory(self, server=self.server_name)
        self.ws_factory.protocol = Socket
        self.ws_factory.setProtocolOptions(
            autoPingTimeout=self.ping_timeout,
            allowNullOrigin=True,
            openHandshakeTimeout=self.websocket_handshake_timeout,
            maxMessagePayloadSize=self.websocket_max_message_size,
            maxFramePayloadSize=self.websocket_max_frame_size,
        )
        globalLogBeginner.beginLoggingTo([lambda _: None], redirectStandardIO=False, discardBuffer=True)
        asyncio.set_event_loop(loop)
        reactor.callLater(1, self.application_checker)
        reactor.callLater(1, self.timeout_checker)
        reactor.addSystemEventTrigger("before", "shutdown", self.kill_all_applications)
        self.listener.setblocking(False)
        self.port = reactor.adoptStreamPort(self.listener.fileno(), self.listener.family, self.http_factory)
        self.listener.close()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.on_signal))
        loop.call_soon(notify_ready)
        reactor.run(installSignalHandlers=False)

    def create_application(self, protocol: Request | Socket, scope: Scope) -> Mailbox | None:
        """Daphne's own, with a lighter queue."""
        if protocol not in self.connections:
            return None
        if self.trusted_proxies:
            believe_proxies(scope, self.trusted_proxies)
        scope.setdefault("asgi", {"version": "3.0"})
        mailbox = Mailbox()
        running = self.application(scope, mailbox.get, partial(self.handle_reply, protocol))
        self.connections[protocol]["application_instance"] = asyncio.ensure_future(running, loop=loop)
        return mailbox

    def timeout_checker(self) -> None:
        super().timeout_checker()
        now = time.monotonic()
        for channel in list(self.channels):
            if channel.is_open:
                channel.check_clock(now)
            else:
                self.channels.discard(channel)  # became a socket, which has closed since

    def on_signal(self) -> None:
        if self.drains:
            logger.warning("Told to stop a second time: stopping at once")
            self.stop()
        else:
            self.begin_drain()

    def begin_drain(self) -> None:
        logger.info("Draining %s connections", len(self.channels))
        self.drains_since = time.monotonic()
        guard = threading.Timer(DRAIN_S + 1, os._exit, [1])
        guard.daemon = True
        guard.start()
        # Whoever is through the handshake is served; on an inherited listener the rest wait for the next process.
        for _ in range(4):
            self.port.doRead()
        self.port.stopListening()
        drain.begin()
        self.continue_drain()

    def continue_drain(self) -> None:
        now = time.monotonic()
        assert self.drains_since is not None
        for protocol, details in list(self.connections.items()):
            if "disconnected" not in details:
                protocol.begin_drain()
        still_open = [channel for channel in self.channels if channel.is_open]
        for channel in still_open:
            if channel.is_idle and now - max(channel.idle_since, self.drains_since) > IDLE_DRAIN_S:
                channel.loseConnection()
        if not still_open or now - self.drains_since > DRAIN_S:
            logger.info("Stopping with %s connections open", len(still_open))
            self.stop()
        else:
            reactor.callLater(0.05, self.continue_drain)

    def kill_all_applications(self) -> object:
        """Daphne's own fails on a connection that has no application."""
        running = [details.get("application_instance") for details in self.connections.values()]
        pending = [future for future in running if future is not None and not future.done()]
        for future in pending:
            future.cancel()
        return daphne_server.defer.Deferred.fromFuture(asyncio.ensure_future(settle(pending), loop=loop))


async def settle(futures: list["asyncio.Future[None]"]) -> None:
    if futures:
        await asyncio.wait(futures, timeout=1)
