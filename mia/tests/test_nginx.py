"""deploy/nginx.conf, in a real nginx before a real server: limits, addresses, streams, sockets and its own errors."""

import http.client
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import requests
from websockets.sync.client import connect

from mia.tests.test_server import Site, assert_error
from mia.tests.test_up import free_port

CONFIGURATION = Path(__file__).resolve().parents[2] / "deploy" / "nginx.conf"
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")

pytestmark = pytest.mark.skipif(NGINX is None, reason="needs nginx: apt-get install nginx-light")


def adapted(upstream: int, port: int, directory: Path) -> str:
    """The file as it is but for addresses, which Docker's resolver would give, and for shorter waits."""
    text = CONFIGURATION.read_text()
    text = re.sub(r"server web:8000 resolve[^;]*;", f"server 127.0.0.1:{upstream};", text)
    text = re.sub(r"resolver [^;]*;", "", text)
    text = text.replace("listen 8080 default_server;", f"listen 127.0.0.1:{port};")
    text = text.replace("pid /tmp/nginx.pid;", f"pid {directory}/nginx.pid;")
    return text.replace("client_header_timeout 10s;", "client_header_timeout 1s;")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("site"))
    site.start(PROXIES="1")
    yield site
    site.stop()


@pytest.fixture(scope="module")
def proxy(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of an nginx in front of the site."""
    port = free_port()
    yield from serve(adapted(site.port, port, directory := tmp_path_factory.mktemp("nginx")), port, directory)


def serve(configuration: str, port: int, directory: Path) -> Iterator[int]:
    file = directory / "nginx.conf"
    file.write_text(configuration)
    process = subprocess.Popen(
        [str(NGINX), "-p", directory, "-c", file, "-g", "daemon off;"], stderr=subprocess.DEVNULL
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with closing(socket.socket()) as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("nginx does not listen")


def test_file_is_valid_but_for_what_only_a_newer_nginx_knows(tmp_path: Path) -> None:
    file = tmp_path / "nginx.conf"
    file.write_text(adapted(1, 2, tmp_path))
    finished = subprocess.run(
        [str(NGINX), "-t", "-p", tmp_path, "-c", file], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stderr


def test_server_sees_the_clients_address_and_not_what_the_client_claims(proxy: int) -> None:
    headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
    reply = requests.get(f"http://127.0.0.1:{proxy}/", headers=headers, timeout=20).json()
    assert (reply["client"][0], reply["scheme"]) == ("127.0.0.1", "https")


def test_big_body_is_refused_in_the_platforms_shape(proxy: int) -> None:
    reply = requests.post(f"http://127.0.0.1:{proxy}/", data=b"x" * (2 << 20), timeout=20)
    assert_error((reply.status_code, reply.json()), 413, "PAYLOAD_TOO_LARGE")


def test_headers_that_do_not_end_are_cut_off(proxy: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", proxy), timeout=20)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow:")
        begun = time.monotonic()
        with suppress(ConnectionResetError):
            assert connection.recv(100) == b""
    assert time.monotonic() - begun < 10


def test_body_that_trickles_never_reaches_the_server(proxy: int, site: Site) -> None:
    with closing(socket.create_connection(("127.0.0.1", proxy), timeout=20)) as connection:
        connection.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        for _ in range(5):
            connection.sendall(b"x")
            time.sleep(0.1)
        assert requests.get(f"http://127.0.0.1:{proxy}/", timeout=20).status_code == 200


def test_stream_is_passed_on_as_it_comes(proxy: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", proxy, timeout=5)
    with closing(connection):
        connection.request("GET", "/events")
        assert connection.getresponse().readline() == b"data: hello\n"


def test_socket_goes_through(proxy: int) -> None:
    with connect(f"ws://127.0.0.1:{proxy}/socket") as client:
        client.send("hello")
        assert client.recv(timeout=5) == "hello"


def test_no_web_process_is_unavailable_with_a_time_to_come_back(tmp_path: Path) -> None:
    port = free_port()
    for _ in serve(adapted(free_port(), port, tmp_path), port, tmp_path):
        reply = requests.get(f"http://127.0.0.1:{port}/", timeout=20)
        assert_error((reply.status_code, reply.json()), 503, "UNAVAILABLE")
        assert reply.headers["Retry-After"] == "2"
