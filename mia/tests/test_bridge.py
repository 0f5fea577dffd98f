"""Django behind one thread hop: bodies, headers, long replies, clients that leave."""

import asyncio
import threading
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from mia.lib.bridge import BUFFER_BYTES, WsgiBridge


class Call:
    """One request to an ASGI application, and everything that came back, with the threads that sent it."""

    def __init__(self, *body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), leaves: bool = False) -> None:
        self.sent: list[dict[str, Any]] = []
        self.inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for number, piece in enumerate(body or (b"",)):
            more = leaves or number < len(body) - 1
            self.inbox.put_nowait({"type": "http.request", "body": piece, "more_body": more})
        if leaves:
            self.inbox.put_nowait({"type": "http.disconnect"})
        self.scope = {
            "type": "http",
            "method": "POST",
            "path": "/é",
            "query_string": b"a=1",
            "http_version": "1.1",
            "headers": list(headers),
            "client": ("192.0.2.1", 5000),
            "server": ("mia.example", 443),
            "scheme": "https",
        }

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    async def to(self, bridge: WsgiBridge) -> "Call":
        await bridge(self.scope, self.inbox.get, self.send)
        return self

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent[1:])


def run(call: Call, application: Callable[..., Any], *, threads: int = 2) -> Call:
    return asyncio.run(call.to(WsgiBridge(application, threads=threads)))


def echo(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
    start_response("201 Created", [("X-Seen", environ.get("HTTP_X_SEEN", "-"))])
    return [
        environ["PATH_INFO"].encode("latin-1"),
        b" ",
        environ["REMOTE_ADDR"].encode(),
        b" ",
        environ["wsgi.input"].read(),
    ]


def test_a_request_reaches_the_application_whole() -> None:
    call = run(Call(b"one ", b"two"), echo)
    assert call.sent[0]["status"] == 201
    assert call.body == "/é 192.0.2.1 one two".encode()
    assert call.sent[-1]["more_body"] is False


def test_a_short_reply_ends_with_its_last_piece() -> None:
    assert len(run(Call(b"x"), lambda environ, start: (start("200 OK", []), [b"all"])[1]).sent) == 2


def test_a_reply_without_a_body_ends_too() -> None:
    call = run(Call(), lambda environ, start: (start("204 No Content", []), [])[1])
    assert (call.body, call.sent[-1]["more_body"]) == (b"", False)


def test_headers_that_only_differ_by_an_underscore_are_not_confused() -> None:
    call = run(Call(headers=[(b"x_seen", b"forged"), (b"x-seen", b"true")]), echo)
    assert (b"x-seen", b"true") in call.sent[0]["headers"]


def test_a_long_reply_is_sent_while_it_is_made() -> None:
    piece = b"x" * (BUFFER_BYTES // 2 + 1)
    made: list[int] = []
    call = Call()

    def export(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        start_response("200 OK", [])
        for _ in range(6):
            made.append(len(call.sent))
            yield piece

    assert run(call, export).body == piece * 6
    assert made[-1] > 0


def test_the_reply_is_closed_in_the_thread_that_made_it() -> None:
    threads: list[str] = []

    class Reply(list[bytes]):
        def close(self) -> None:
            threads.append(threading.current_thread().name)

    run(Call(), lambda environ, start: (start("200 OK", []), Reply([b"x"]))[1])
    assert threads[0].startswith("wsgi")


def test_the_reply_is_closed_when_the_application_fails_midway() -> None:
    closed: list[bool] = []

    class Reply:
        def __iter__(self) -> Iterable[bytes]:
            yield b"x"
            raise ZeroDivisionError

        def close(self) -> None:
            closed.append(True)

    with pytest.raises(ZeroDivisionError):
        run(Call(), lambda environ, start: (start("200 OK", []), Reply())[1])
    assert closed == [True]


def test_nothing_runs_for_a_client_that_left_before_its_body_was_there() -> None:
    ran: list[bool] = []
    call = run(Call(b"half", leaves=True), lambda environ, start: ran.append(True) or [])
    assert (ran, call.sent) == ([], [])


def test_slow_requests_do_not_hold_up_the_event_loop() -> None:
    gate = threading.Event()

    def slow(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        gate.wait(5)
        start_response("200 OK", [])
        return [b"done"]

    async def scenario() -> None:
        bridge = WsgiBridge(slow, threads=2)
        calls = [asyncio.create_task(Call().to(bridge)) for _ in range(2)]
        await asyncio.sleep(0.05)
        assert not any(call.done() for call in calls)
        gate.set()
        assert [call.body for call in await asyncio.gather(*calls)] == [b"done", b"done"]

    asyncio.run(scenario())
