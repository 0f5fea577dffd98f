"""Django's WSGI handler inside an ASGI application, by one thread hop per request.

The body is read before the hop, and a reply that fits in a buffer crosses back with the hop's own result; only a
longer one, such as an export, is sent from the thread piece by piece. (a2wsgi crosses threads four times for each
request, which cost more than the view; asgiref's own wrapper runs all requests in one thread.)
"""

import asyncio
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

from asgiref.wsgi import WsgiToAsgiInstance

from mia.lib.hot import ClientLeft, Message, Receive, Scope, Send

WsgiApplication = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BUFFER_BYTES: Final = 256 * 1024
SEND_TIMEOUT_S: Final = 60.0


class WsgiBridge:
    """An ASGI application that runs a WSGI application in a pool of `threads`."""

    def __init__(self, application: WsgiApplication, *, threads: int) -> None:
        self._application = application
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="wsgi")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        loop = asyncio.get_running_loop()
        with SpooledTemporaryFile(max_size=BUFFER_BYTES) as body:
            try:
                await _read_body(body, receive)
            except ClientLeft:
                return
            exchange = Exchange(send, loop)
            environ = build_environ(scope, body)
            await loop.run_in_executor(self._pool, exchange.run, self._application, environ)
        for message in exchange.unsent:
            await send(message)


class Exchange:
    """One request's reply, on its way from the thread to the event loop."""

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self.unsent: list[Message] = []
        self._send = send
        self._loop = loop
        self._buffered = 0

    def run(self, application: WsgiApplication, environ: dict[str, Any]) -> None:
        """Called in a thread of the pool."""
        reply = application(environ, self._start)
        try:
            for piece in reply:
                self._add(piece)
        finally:
            # Django ends the request here, and gives its database connection back.
            getattr(reply, "close", _nothing)()
        if self.unsent and self.unsent[-1]["type"] == "http.response.body":
            self.unsent[-1]["more_body"] = False
        else:
            self.unsent.append({"type": "http.response.body", "body": b"", "more_body": False})

    def _start(self, status: str, headers: list[tuple[str, str]], _exception: Any = None) -> Callable[[bytes], None]:
        encoded = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        self.unsent.append({"type": "http.response.start", "status": int(status[:3]), "headers": encoded})
        return self._add

    def _add(self, piece: bytes) -> None:
        if not piece:
            return
        self.unsent.append({"type": "http.response.body", "body": piece, "more_body": True})
        self._buffered += len(piece)
        if self._buffered > BUFFER_BYTES:
            self._flush()

    def _flush(self) -> None:
        """Sends what is buffered from within the thread, as fast as the client takes it."""
        messages, self.unsent, self._buffered = self.unsent, [], 0
        for message in messages:
            asyncio.run_coroutine_threadsafe(_once(self._send, message), self._loop).result(SEND_TIMEOUT_S)


def build_environ(scope: Scope, body: IO[bytes]) -> dict[str, Any]:
    """The WSGI environment. Headers with an underscore are dropped: WSGI could not tell them from those with a dash."""
    instance: Any = WsgiToAsgiInstance(None)  # type: ignore[no-untyped-call]
    headers = [(name, value) for name, value in scope["headers"] if b"_" not in name]
    instance.scope = {**scope, "headers": headers}
    environ: dict[str, Any] = instance.build_environ(instance.scope, body)
    environ["wsgi.errors"] = sys.stderr
    return environ


async def _read_body(body: IO[bytes], receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientLeft
        body.write(message.get("body", b""))
        if not message.get("more_body"):
            break
    body.seek(0)


async def _once(send: Send, message: Message) -> None:
    await send(message)


def _nothing() -> None:
    """The reply has nothing to close."""
