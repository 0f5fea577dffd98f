"""The server, as a real process: it drains cleanly, limits bodies, cuts slow clients off and survives bad HTTP."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest
import requests
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mia.server.limits import body_limit
from mia.server.listening import listen
from mia.server.proxies import believe_proxies

APPLICATION = """
import asyncio, json, os, sys
from mia.lib.drain import drain
from mia.server import connections, serve
from mia.server.limits import body_limit
from mia.server.listening import notify_ready
import socket

async def answer(send, status, body, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})
    await send({"type": "http.response.body", "body": body})

async def read(receive):
    body = b""
    while True:
        message = await receive()
        body += message["body"]
        if not message["more_body"]:
            return body

async def events(send):
    headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"data: hello\\n\\n", "more_body": True})
    await drain.wait()
    await send({"type": "http.response.body", "body": b"retry: 2000\\n\\n"})

async def flood(send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})
        await asyncio.sleep(0.002)

async def websocket(receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while True:
        message = await receive()
        if message["type"] == "websocket.disconnect":
            open(os.environ["LOG"], "a").write(f"disconnect {message['code']}\\n")
            return
        if message["text"] == "refuse":
            await send({"type": "websocket.close", "code": 1008, "reason": "NOT_AUTHENTICATED"})
        else:
            await send({"type": "websocket.send", "text": message["text"]})

async def application(scope, receive, send):
    if scope["type"] == "websocket":
        return await websocket(receive, send)
    path = scope["path"]
    if path == "/slow":
        await asyncio.sleep(1.0)
    if path == "/stuck":
        await asyncio.sleep(3600)
    if path == "/poll":
        await asyncio.wait_for(drain.wait(), 30)
    if path == "/events":
        return await events(send)
    if path == "/flood":
        return await flood(send)
    if path == "/crash":
        raise RuntimeError("secret detail")
    body = await read(receive)
    reply = {"pid": os.getpid(), "bytes": len(body), "client": scope["client"], "scheme": scope["scheme"]}
    await answer(send, 200, json.dumps(reply).encode(), (b"content-type", b"application/json"))

for name, value in json.loads(os.environ.get("CLOCKS", "{}")).items():
    setattr(connections, name, value)
server = serve.Server(
    application,
    listener=socket.socket(fileno=int(sys.argv[1])),
    body_limit=body_limit(1000, {"/upload": 200_000}),
    trusted_proxies=int(os.environ.get("PROXIES", "0")),
)
server.run()
"""


@dataclass
class Site:
    """A listening socket with the server processes that share it."""

    directory: Path
    listener: socket.socket = field(default_factory=lambda: listen("127.0.0.1", 0))
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.directory / "log"

    def start(self, **environment: str) -> subprocess.Popen[bytes]:
        """Start one more server and return once it accepts connections."""
        script = self.directory / "site.py"
        script.write_text(APPLICATION)
        address = self.directory / f"ready-{len(self.processes)}"
        with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as ready:
            ready.bind(str(address))
            ready.settimeout(30)
            settings = {"PYTHONPATH": os.getcwd(), "NOTIFY_SOCKET": str(address), "LOG": str(self.log)} | environment
            process = subprocess.Popen(
                [sys.executable, script, str(self.listener.fileno())],
                env=os.environ | settings,
                pass_fds=[self.listener.fileno()],
            )
            self.processes.append(process)
            assert ready.recv(100) == b"READY=1"
        return process

    def stop(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()
        self.listener.close()

    def websocket(self) -> ClientConnection:
        return connect(f"ws://127.0.0.1:{self.port}/socket")

    def raw(self, data: bytes) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        connection.sendall(data)
        return connection

    def exchange(self, data: bytes) -> tuple[int, dict[str, object]]:
        with closing(self.raw(data)) as connection:
            reply = http.client.HTTPResponse(connection)
            reply.begin()
            return reply.status, json.loads(reply.read())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.stop()


@pytest.fixture
def running_site(site: Site) -> Site:
    site.start()
    return site


@pytest.fixture(scope="module")
def shared_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One process for the tests that do not stop it."""
    site = Site(tmp_path_factory.mktemp("site"))
    site.start()
    yield site
    site.stop()


@dataclass
class Load:
    """Requests from several threads, each on a connection that it keeps alive."""

    url: str
    answers: list[int] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)

    def work(self, number: int) -> None:
        with requests.Session() as session:
            while not self.over.is_set():
                try:
                    reply = session.post(f"{self.url}/work/{number}", data=b"x" * 200, timeout=20)
                except requests.RequestException as error:
                    self.failures.append(repr(error))
                else:
                    self.answers.append(reply.json()["pid"])

    @contextmanager
    def running(self, threads: int) -> Iterator[None]:
        workers = [threading.Thread(target=self.work, args=(number,)) for number in range(threads)]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            self.over.set()
            for worker in workers:
                worker.join()


def stop_and_time(process: subprocess.Popen[bytes]) -> float:
    begun = time.monotonic()
    process.terminate()
    assert process.wait(20) == 0
    return time.monotonic() - begun


@pytest.mark.chaos
class TestDrain:
    """SIGTERM."""

    def test_rolling_restarts_under_load_lose_no_request(self, site: Site) -> None:
        current = site.start()
        load = Load(site.url)
        with load.running(threads=8):
            for _ in range(3):
                time.sleep(0.7)
                following = site.start()
                assert stop_and_time(current) < 10
                current = following
            time.sleep(0.5)
        assert load.failures == []
        assert len(set(load.answers)) == 4
        assert len(load.answers) > 200

    def test_connections_wait_while_no_process_accepts(self, site: Site) -> None:
        stop_and_time(site.start())
        load = Load(site.url)
        with load.running(threads=4):
            time.sleep(0.3)
            site.start()
            time.sleep(0.3)
        assert load.failures == []
        assert load.answers

    def test_request_in_flight_is_answered_and_the_connection_closed(self, running_site: Site) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running_site.port, timeout=20)
        connection.request("GET", "/slow")
        time.sleep(0.3)
        running_site.processes[0].terminate()
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("connection")) == (200, "close")
        assert running_site.processes[0].wait(10) == 0

    def test_request_that_arrives_on_an_idle_connection_is_still_answered(self, running_site: Site) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running_site.port, timeout=20)
        connection.request("GET", "/")
        connection.getresponse().read()
        running_site.processes[0].terminate()
        time.sleep(0.5)
        connection.request("GET", "/")
        reply = connection.getresponse()
        assert (reply.status, reply.getheader("connection")) == (200, "close")

    def test_idle_connections_do_not_hold_the_process(self, running_site: Site) -> None:
        with requests.Session() as session:
            session.get(running_site.url)
            assert stop_and_time(running_site.processes[0]) < 3

    def test_parked_long_poll_is_answered_at_once(self, running_site: Site) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", running_site.port, timeout=20)
        connection.request("GET", "/poll")
        time.sleep(0.3)
        begun = time.monotonic()
        running_site.processes[0].terminate()
        assert connection.getresponse().status == 200
        assert time.monotonic() - begun < 1

    def test_stream_ends_with_its_last_words(self, running_site: Site) -> None:
        with requests.get(f"{running_site.url}/events", stream=True, timeout=20) as reply:
            lines = reply.iter_lines()
            assert next(lines) == b"data: hello"
            running_site.processes[0].terminate()
            assert list(lines) == [b"", b"retry: 2000", b""]

    def test_sockets_are_closed_with_1012_and_the_application_hears_of_it(self, running_site: Site) -> None:
        with running_site.websocket() as client:
            client.send("hello")
            assert client.recv() == "hello"
            running_site.processes[0].terminate()
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1012, "Service restart")
        assert running_site.processes[0].wait(10) == 0
        assert running_site.log.read_text() == "disconnect 1012\n"

    def test_request_that_never_ends_delays_the_stop_no_longer_than_ten_seconds(self, running_site: Site) -> None:
        with suppress(requests.ReadTimeout):
            requests.get(f"{running_site.url}/stuck", timeout=0.3)
        with closing(running_site.raw(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")):
            assert 7 < stop_and_time(running_site.processes[0]) < 10

    def test_second_signal_stops_at_once(self, running_site: Site) -> None:
        with closing(running_site.raw(b"GET /stuck HTTP/1.1\r\nHost: x\r\n\r\n")):
            time.sleep(0.2)
            running_site.processes[0].terminate()
            time.sleep(0.2)
            assert stop_and_time(running_site.processes[0]) < 2

    def test_interrupt_drains_too(self, running_site: Site) -> None:
        running_site.processes[0].send_signal(signal.SIGINT)
        assert running_site.processes[0].wait(5) == 0


def assert_error(reply: tuple[int, dict[str, object]], status: int, code: str) -> None:
    assert (reply[0], reply[1]["error_code"]) == (status, code)
    assert str(reply[1]["timestamp"]).endswith("Z")
    assert reply[1]["detail"]


class TestBodies:
    """What a request may bring."""

    def test_declared_big_body_is_refused_before_it_is_sent(self, shared_site: Site) -> None:
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 300000000\r\nExpect: 100-continue\r\n\r\n"
        assert_error(shared_site.exchange(head), 413, "PAYLOAD_TOO_LARGE")

    def test_big_body_costs_no_memory_and_its_sender_reads_the_refusal(self, shared_site: Site) -> None:
        process = psutil.Process(shared_site.processes[0].pid)
        before = process.memory_info().rss
        reply = requests.post(shared_site.url, data=b"x" * 30_000_000, timeout=20)
        assert_error((reply.status_code, reply.json()), 413, "PAYLOAD_TOO_LARGE")
        assert process.memory_info().rss - before < 3_000_000

    def test_chunked_body_is_refused_when_it_passes_the_limit(self, shared_site: Site) -> None:
        reply = requests.post(shared_site.url, data=iter([b"x" * 600] * 100), timeout=20)
        assert_error((reply.status_code, reply.json()), 413, "PAYLOAD_TOO_LARGE")

    @pytest.mark.parametrize(("size", "status"), [(1000, 200), (1001, 413)])
    def test_limit_is_exact_for_both_ways_of_sending(self, shared_site: Site, size: int, status: int) -> None:
        for body in (b"x" * size, iter([b"x" * size])):
            assert requests.post(shared_site.url, data=body, timeout=20).status_code == status

    def test_path_with_a_limit_of_its_own_takes_more(self, shared_site: Site) -> None:
        reply = requests.post(f"{shared_site.url}/upload/file", data=b"x" * 200_000, timeout=20)
        assert reply.json()["bytes"] == 200_000

    def test_form_reaches_the_application_unread(self, shared_site: Site) -> None:
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        reply = requests.post(shared_site.url, data=b"not a form at all", headers=headers, timeout=20)
        assert reply.json()["bytes"] == 17

    def test_connection_still_serves_others_after_a_refusal(self, shared_site: Site) -> None:
        with requests.Session() as session:
            assert session.post(shared_site.url, data=b"x" * 5000, timeout=20).status_code == 413
            assert session.get(shared_site.url, timeout=20).status_code == 200

    def test_longest_prefix_decides(self) -> None:
        limit = body_limit(10, {"/api/": 20, "/api/training/": 30})
        assert [limit(path) for path in (b"/", b"/api/x", b"/api/training/x", b"/%61pi/x")] == [10, 20, 30, 10]


class TestBadHttp:
    """What is not quite HTTP gets the one error shape and reaches no view."""

    @pytest.mark.parametrize(
        "data",
        [
            b"nonsense\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"GET / HTTP/1.1\r\nNo colon here\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: a\x00b\r\n\r\n",
            b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
            b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
            b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET /?q=\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        ],
    )
    def test_it_is_refused(self, shared_site: Site, data: bytes) -> None:
        assert_error(shared_site.exchange(data), 400, "INVALID_REQUEST")

    def test_crash_of_the_application_tells_nothing(self, shared_site: Site) -> None:
        reply = requests.get(f"{shared_site.url}/crash", timeout=20)
        assert_error((reply.status_code, reply.json()), 500, "SERVER_ERROR")
        assert "secret" not in reply.text


class TestSlowClients:
    """Nobody holds a connection by being slow."""

    def times_out(self, site: Site, data: bytes) -> None:
        assert_error(site.exchange(data), 408, "REQUEST_TIMEOUT")

    def test_headers_that_do_not_end(self, site: Site) -> None:
        site.start(CLOCKS='{"HEADERS_TIMEOUT_S": 0.5}')
        self.times_out(site, b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow:")

    def test_headers_that_trickle(self, site: Site) -> None:
        site.start(CLOCKS='{"HEADERS_TIMEOUT_S": 1}')
        with closing(site.raw(b"GET / HTTP/1.1\r\n")) as connection:
            for _ in range(100):
                with suppress(OSError):
                    connection.sendall(b"X: y\r\n")
                time.sleep(0.05)
            assert connection.recv(100).startswith(b"HTTP/1.1 408")

    def test_body_that_does_not_come(self, site: Site) -> None:
        site.start(CLOCKS='{"HEADERS_TIMEOUT_S": 0.4, "BODY_TIMEOUT_S": 0.4}')
        self.times_out(site, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")

    def test_answer_that_is_not_read(self, site: Site) -> None:
        process = site.start(CLOCKS='{"UNREAD_TIMEOUT_S": 1}')
        with closing(site.raw(b"GET /flood HTTP/1.1\r\nHost: x\r\n\r\n")):
            time.sleep(4)
            assert psutil.Process(process.pid).net_connections("tcp")[1:] == []

    def test_waiting_for_an_answer_is_not_slowness(self, site: Site) -> None:
        site.start(CLOCKS='{"HEADERS_TIMEOUT_S": 0.3, "BODY_TIMEOUT_S": 0.1, "UNREAD_TIMEOUT_S": 0.3}')
        assert requests.get(f"{site.url}/slow", timeout=20).status_code == 200


class TestSockets:
    """WebSockets."""

    def test_application_may_close_with_a_policy_code_and_a_reason(self, shared_site: Site) -> None:
        with shared_site.websocket() as client:
            client.send("refuse")
            with pytest.raises(ConnectionClosed) as closed:
                client.recv(timeout=5)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "NOT_AUTHENTICATED")

    def test_message_over_a_mebibyte_closes_the_socket(self, shared_site: Site) -> None:
        with shared_site.websocket() as client:
            client.send("x" * (1 << 20))
            assert len(client.recv(timeout=5)) == 1 << 20
            with pytest.raises(ConnectionClosed):
                client.send("x" * (1 << 22))
                client.recv(timeout=5)


class TestProxies:
    """Whom a request comes from."""

    def test_header_of_a_stranger_is_not_believed(self, shared_site: Site) -> None:
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        reply = requests.get(shared_site.url, headers=headers, timeout=20).json()
        assert (reply["client"][0], reply["scheme"]) == ("127.0.0.1", "http")

    def test_trusted_proxy_names_the_client(self, site: Site) -> None:
        site.start(PROXIES="1")
        headers = {"X-Forwarded-For": "198.51.100.1, 203.0.113.9", "X-Forwarded-Proto": "https"}
        reply = requests.get(site.url, headers=headers, timeout=20).json()
        assert (reply["client"][0], reply["scheme"]) == ("203.0.113.9", "https")

    @pytest.mark.parametrize(("count", "address"), [(1, "c"), (2, "b"), (3, "a"), (9, "a")])
    def test_address_is_counted_from_our_side(self, count: int, address: str) -> None:
        scope = {"type": "http", "headers": [(b"x-forwarded-for", b"a, b, c")], "client": ["proxy", 1]}
        believe_proxies(scope, count)
        assert scope["client"] == [address, 0]

    def test_request_past_the_proxy_keeps_its_own_address(self) -> None:
        scope = {"type": "http", "headers": [], "client": ["proxy", 1]}
        believe_proxies(scope, 1)
        assert scope["client"] == ["proxy", 1]


class TestCommand:
    """`manage.py web`."""

    def run(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "manage.py", "web", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    def test_taken_port_is_said_in_a_sentence(self, shared_site: Site) -> None:
        finished = self.run("--port", str(shared_site.port))
        assert finished.returncode == 1
        assert f"Cannot listen on 127.0.0.1 port {shared_site.port}: Address already in use." in finished.stderr

    def test_several_processes_may_share_a_port_when_told(self) -> None:
        first = listen("127.0.0.1", 0, share_port=True)
        port = first.getsockname()[1]
        with first, listen("127.0.0.1", port, share_port=True) as second:
            assert second.getsockname()[1] == port
