"""Outbound HTTP against real local servers: what it refuses to reach, how much it takes, and when it gives up."""

import contextlib
import gzip
import ipaddress
import json
import socket
import ssl
import threading
import time
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from mia.lib.errors import error_body
from mia.lib.http import OutboundError, _next_hop, fetch, get_json
from mia.lib.outbound import is_metadata_address, is_public_address

NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Handler(BaseHTTPRequestHandler):
    """Does what the test put down for the path, and notes what came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.seen.append((self.path, dict(self.headers)))
        self.close_connection = True
        with contextlib.suppress(ConnectionError):
            self.server.answers[self.path](self)

    def log_message(self, *arguments):
        pass

    def reply(self, body=b"", status=200, **headers):
        self.send_response(status)
        for name, value in {"content_length": str(len(body)), "connection": "close", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)


class LocalServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.seen = {}, []

    def url(self, path="/", host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.server_port}{path}"

    def says(self, path, body=b"", **reply):
        self.answers[path] = lambda handler: handler.reply(body, **reply)
        return self.url(path)

    def does(self, path, act):
        self.answers[path] = act
        return self.url(path)

    def redirects(self, path, location, status=302):
        return self.says(path, status=status, location=location)


@pytest.fixture
def server(settings):
    """A server that may be reached, because private addresses are allowed for the test."""
    local = LocalServer()
    settings.OUTBOUND_ALLOW_PRIVATE = True
    settings.OUTBOUND_ALLOWED_PORTS = [local.server_port]
    thread = threading.Thread(target=local.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield local
    local.shutdown()
    thread.join()
    local.server_close()


class Canary:
    """A listener on the addresses of this machine that nobody may reach."""

    def __init__(self):
        first = socket.create_server(("127.0.0.1", 0))
        self.port = first.getsockname()[1]
        self.listeners = [first]
        with contextlib.suppress(OSError):
            self.listeners.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))

    def visits(self):
        count = 0
        for listener in self.listeners:
            listener.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                listener.accept()
                count += 1
        return count

    def close(self):
        for listener in self.listeners:
            listener.close()


@pytest.fixture
def canary(settings):
    listening = Canary()
    settings.OUTBOUND_ALLOW_PRIVATE = False
    settings.OUTBOUND_ALLOWED_PORTS = [80, 443, listening.port]
    yield listening
    listening.close()


def failure(url, **limits):
    with pytest.raises(OutboundError) as caught:
        fetch(url, **limits)
    return caught.value


# {port} is the canary's. Every one of these means this machine, its network, a cloud's metadata or no host at all.
SSRF_CORPUS = [
    "http://127.0.0.1:{port}/",
    "http://127.0.0.2:{port}/",
    "http://127.1:{port}/",
    "http://127.0.1:{port}/",
    "http://2130706433:{port}/",
    "http://0x7f000001:{port}/",
    "http://0x7f.0.0.1:{port}/",
    "http://017700000001:{port}/",
    "http://0177.0.0.1:{port}/",
    "http://0:{port}/",
    "http://0.0.0.0:{port}/",
    "http://localhost:{port}/",
    "http://LOCALHOST:{port}/",
    "http://localhost.:{port}/",
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://127。0。0。1:{port}/",
    "http://[::1]:{port}/",
    "http://[::]:{port}/",
    "http://[0:0:0:0:0:0:0:1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://[::ffff:7f00:1]:{port}/",
    "http://[::127.0.0.1]:{port}/",
    "http://[64:ff9b::7f00:1]/",
    "http://[64:ff9b:1::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[fd00::1]/",
    "http://[fc00::1]/",
    "http://[fe80::1]/",
    "http://[fec0::1]/",
    "http://[ff02::1]/",
    "http://[100::1]/",
    "http://[2001:db8::1]/",
    "http://[fd00:ec2::254]/",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.170.2/v2/credentials",
    "http://[::ffff:169.254.169.254]/",
    "http://2852039166/",
    "http://168.63.129.16/",
    "http://[::ffff:168.63.129.16]/",
    "http://100.100.100.200/",
    "http://192.0.0.192/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://198.18.0.1/",
    "http://192.0.2.1/",
    "http://192.88.99.1/",
    "http://203.0.113.7/",
    "http://224.0.0.1/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://example.com@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@example.com/",
    "http://user:password@127.0.0.1:{port}/",
    "http://example.com\\@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@example.com/",
    "http://127.0.0.1:{port} @example.com/",
    "http://127.0.0.1:{port}\r\nHost: example.com/",
    "http://127.0.0.1:22/",
    "http://127.0.0.1:6379/",
    "https://127.0.0.1:{port}/",
    "HTTP://127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}",
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "gopher://127.0.0.1:{port}/_FLUSHALL",
    "dict://127.0.0.1:{port}/",
    "ftp://127.0.0.1:{port}/",
    "data:text/plain,hello",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "http+unix://%2Fvar%2Frun%2Fdocker.sock/",
    "http://",
    "http://.:{port}/",
    "http://" + "a" * 64 + ".example/",
    "http://[::1/",
    "http://127.0.0.1:99999/",
    "http://127.0.0.1:-1/",
    "",
    "http://127.0.0.1:{port}/" + "x" * 3000,
]


class TestSsrf:
    @pytest.mark.parametrize("url", SSRF_CORPUS, ids=lambda url: url[:50])
    def test_a_foreign_address_leads_nowhere_inside(self, canary, url):
        error = failure(url.replace("{port}", str(canary.port)), timeout_s=1.0)
        assert canary.visits() == 0
        assert error.permanent or url.startswith("http://localhost.:")  # which not every resolver knows

    def test_the_canary_would_have_noticed(self, canary, settings):
        settings.OUTBOUND_ALLOW_PRIVATE = True
        failure(f"http://127.0.0.1:{canary.port}/", timeout_s=0.2)
        assert canary.visits() == 1

    @pytest.mark.parametrize("inside", ["127.0.0.1", "10.0.0.1", "168.63.129.16", "::1", "fd00::1"])
    def test_a_name_that_resolves_to_the_inside_is_refused(self, canary, monkeypatch, inside):
        monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *rest, **more: [answer(inside, port)])
        assert failure(f"http://help.example:{canary.port}/").permanent
        assert canary.visits() == 0

    def test_a_name_that_changes_its_mind_gains_nothing(self, canary, monkeypatch):
        answers = iter(["198.51.101.9", "127.0.0.1", "127.0.0.1"])
        asked = []

        def resolve(host, port, *rest, **more):
            asked.append(host)
            with contextlib.suppress(ValueError):
                return [answer(str(ipaddress.ip_address(host)), port)]
            return [answer(next(answers), port)]

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        failure(f"http://rebinding.example:{canary.port}/", timeout_s=0.3)
        assert asked.count("rebinding.example") == 1
        assert canary.visits() == 0

    def test_metadata_is_refused_even_where_private_addresses_are_allowed(self, server, settings):
        settings.OUTBOUND_ALLOWED_PORTS = [80]
        for host in ["169.254.169.254", "168.63.129.16", "[::ffff:169.254.169.254]", "100.100.100.200"]:
            assert failure(f"http://{host}/", timeout_s=1.0).reason == "the address is not public"

    def test_a_port_that_is_not_named_is_refused(self, server, settings):
        url = server.says("/", b"x")
        settings.OUTBOUND_ALLOWED_PORTS = [80, 443]
        assert failure(url).reason == "the port is not allowed"
        assert server.seen == []

    @pytest.mark.parametrize(
        ("address", "public"),
        [
            ("93.184.216.34", True),
            ("2606:2800:220:1::1", True),
            ("8.8.8.8", True),
            ("168.63.129.16", False),
            ("127.0.0.1", False),
            ("224.0.0.1", False),
            ("::127.0.0.1", False),
            ("fec0::1", False),
            ("4000::1", False),
        ],
    )
    def test_public_means_routed_and_nobodys_metadata(self, address, public):
        assert is_public_address(ipaddress.ip_address(address)) is public

    def test_a_mapped_address_is_judged_by_what_it_maps(self):
        assert is_metadata_address(ipaddress.ip_address("::ffff:169.254.169.254"))
        assert not is_metadata_address(ipaddress.ip_address("::ffff:93.184.216.34"))


def answer(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = (address, port, 0, 0) if family == socket.AF_INET6 else (address, port)
    return (family, socket.SOCK_STREAM, 6, "", place)


class TestFetch:
    def test_a_page_comes_back_whole(self, server):
        fetched = fetch(server.says("/", "<p>Grüezi</p>".encode(), content_type="Text/HTML; Charset=UTF-8", etag="x"))
        assert (fetched.status, fetched.media_type, fetched.text) == (200, "text/html", "<p>Grüezi</p>")
        assert (fetched.url, fetched.headers["etag"]) == (server.url("/"), "x")

    @pytest.mark.parametrize(
        ("content_type", "body", "text"),
        [
            ("text/plain; charset=iso-8859-1", b"Gr\xfcezi", "Grüezi"),
            ("text/plain", "Grüezi".encode(), "Grüezi"),
            ("text/plain; charset=made-up", "Grüezi".encode(), "Grüezi"),
            ("text/plain; charset=utf-8", b"Gr\xfcezi", "Gr\ufffdezi"),
        ],
    )
    def test_text_is_decoded_by_its_charset_and_never_fails(self, server, content_type, body, text):
        assert fetch(server.says("/", body, content_type=content_type)).text == text

    def test_compressed_content_is_unpacked(self, server):
        packed = gzip.compress(b"hello " * 100)
        assert fetch(server.says("/", packed, content_encoding="gzip")).body == b"hello " * 100

    def test_it_introduces_itself_and_sends_given_headers(self, server):
        fetch(server.says("/", b""), headers={"If-None-Match": "x"})
        headers = server.seen[0][1]
        assert (headers["User-Agent"], headers["If-None-Match"]) == ("MIA/0.1", "x")

    def test_proxies_and_passwords_of_this_machine_are_not_used(self, server, monkeypatch, tmp_path):
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password hunter2")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"]:
            monkeypatch.setenv(name, "http://127.0.0.1:9")
        assert fetch(server.says("/", b"x")).body == b"x"
        assert "Authorization" not in server.seen[0][1]

    def test_no_thread_stays_behind(self, server):
        fetch(server.says("/", b"x"))
        assert not [
            thread
            for thread in threading.enumerate()
            if isinstance(thread, threading.Timer) and not thread.finished.is_set()
        ]


class TestRedirects:
    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_a_redirect_is_followed(self, server, status):
        server.says("/there", b"here")
        fetched = fetch(server.redirects("/", "/there", status))
        assert (fetched.body, fetched.url) == (b"here", server.url("/there"))

    def test_three_are_followed_and_a_fourth_is_not(self, server):
        for number in range(4):
            server.redirects(f"/{number}", f"/{number + 1}")
        server.says("/4", b"end")
        assert fetch(server.url("/1")).body == b"end"
        assert failure(server.url("/0")).reason == "it redirects too often"

    def test_a_circle_ends(self, server):
        assert failure(server.redirects("/", "/")).permanent
        assert len(server.seen) == 4

    @pytest.mark.parametrize(
        "location",
        [
            "http://169.254.169.254/latest/meta-data/",
            "//168.63.129.16/",
            "http://127.0.0.1:6379/",
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "http://user:password@127.0.0.1/",
            "https://[::1",
            "http://\\evil",
            "",
        ],
    )
    def test_every_hop_is_checked_anew(self, server, settings, location):
        settings.OUTBOUND_ALLOWED_PORTS = [server.server_port, 80]
        error = failure(server.redirects("/", location), timeout_s=2.0)
        assert error.permanent
        assert len(server.seen) == 1

    def test_a_redirect_to_nowhere_is_an_error(self, server):
        assert failure(server.says("/", status=302)).http_status == 302

    def test_headers_stay_with_the_host_they_were_meant_for(self, server):
        server.says("/there", b"")
        server.redirects("/same", "/there")
        server.redirects("/other", server.url("/there", host="localhost"))
        fetch(server.url("/same"), headers={"Authorization": "Bearer secret"})
        fetch(server.url("/other"), headers={"Authorization": "Bearer secret"})
        assert ["Authorization" in headers for _, headers in server.seen] == [True, True, True, False]

    def test_cookies_do_not_follow(self, server):
        server.says("/there", b"")
        fetch(server.says("/", status=302, location="/there", set_cookie="a=b; Path=/"))
        assert "Cookie" not in server.seen[1][1]

    def test_encryption_is_not_given_up_on_the_way(self):
        response = requests.Response()
        response.url, response.status_code, response.headers["Location"] = (
            "https://a.example/",
            302,
            "http://a.example/",
        )
        with pytest.raises(OutboundError, match="from https to http"):
            _next_hop(response, None)


class TestSize:
    def test_exactly_the_limit_is_taken(self, server):
        assert len(fetch(server.says("/", b"x" * 1000), max_bytes=1000).body) == 1000

    def test_a_declared_length_over_the_limit_is_refused_before_it_is_read(self, server):
        url = server.does("/", lambda handler: handler.reply(b"", content_length="1001"))
        assert failure(url, max_bytes=1000).reason == "the reply is larger than 1000 bytes"

    def test_an_undeclared_flood_is_cut_off(self, server):
        sent = []

        def flood(handler):
            handler.send_response(200)
            handler.end_headers()
            for _ in range(10_000):
                sent.append(handler.wfile.write(b"x" * 10_000))

        assert failure(server.does("/", flood), max_bytes=50_000).permanent
        assert sum(sent) < 20_000_000

    def test_a_bomb_is_counted_unpacked(self, server):
        bomb = gzip.compress(b"\0" * 50_000_000)
        assert len(bomb) < 60_000
        error = failure(server.says("/", bomb, content_encoding="gzip"), max_bytes=100_000)
        assert error.reason == "the reply is larger than 100000 bytes"

    def test_a_bomb_in_a_bomb_is_counted_unpacked(self, server):
        bomb = gzip.compress(gzip.compress(b"\0" * 50_000_000))
        assert failure(server.says("/", bomb, content_encoding="gzip, gzip"), max_bytes=100_000).permanent


def drip(handler, head):
    handler.wfile.write(head)
    for _ in range(100):
        handler.wfile.write(b"x")
        time.sleep(0.05)


class TestTime:
    def seconds_until_failure(self, url):
        started = time.monotonic()
        error = failure(url, timeout_s=0.4)
        assert (error.reason, error.permanent) == ("it took too long", False)
        return time.monotonic() - started

    def test_a_dripping_body_is_cut_off(self, server):
        url = server.does("/", lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"))
        assert self.seconds_until_failure(url) < 0.9

    def test_a_dripping_body_without_a_length_does_not_pass_for_a_whole_one(self, server):
        url = server.does("/", lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\n\r\n"))
        assert self.seconds_until_failure(url) < 0.9

    def test_a_dripping_head_is_cut_off(self, server):
        url = server.does("/", lambda handler: drip(handler, b"HTTP/1.1 200 OK\r\nX-Long: "))
        assert self.seconds_until_failure(url) < 0.9

    def test_silence_is_cut_off(self, server):
        url = server.does("/", lambda handler: time.sleep(1.5))
        started = time.monotonic()
        assert not failure(url, timeout_s=0.4).permanent
        assert time.monotonic() - started < 0.9

    def test_redirects_share_one_deadline(self, server):
        for number in range(3):
            server.does(
                f"/{number}",
                lambda handler, number=number: (time.sleep(0.2), handler.reply(status=302, location=f"/{number + 1}")),
            )
        server.does("/3", lambda handler: (time.sleep(0.2), handler.reply(b"end")))
        assert self.seconds_until_failure(server.url("/0")) < 0.9


class TestFailures:
    @pytest.mark.parametrize(
        ("status", "permanent"),
        [
            (400, True),
            (401, True),
            (404, True),
            (410, True),
            (304, True),
            (408, False),
            (425, False),
            (429, False),
            (500, False),
            (503, False),
        ],
    )
    def test_the_status_decides_whether_to_try_again(self, server, status, permanent):
        error = failure(server.says("/", status=status))
        assert (error.http_status, error.permanent) == (status, permanent)

    def test_another_content_type_is_refused(self, server):
        url = server.says("/", b"%PDF", content_type="application/pdf")
        assert failure(url, content_types={"text/html"}).permanent
        assert fetch(url, content_types={"text/html", "application/pdf"}).media_type == "application/pdf"

    def test_no_content_type_is_not_taken_for_the_wanted_one(self, server):
        assert failure(server.says("/", b"x"), content_types={"text/html"}).permanent

    def test_nobody_there_is_worth_another_try(self, server):
        server.server_close()
        assert not failure(server.url("/")).permanent

    def test_a_name_that_is_not_known_is_worth_another_try(self, canary):
        assert not failure("http://nobody.invalid/").permanent

    def test_a_body_that_ends_early_is_worth_another_try(self, server):
        url = server.does("/", lambda handler: handler.reply(b"half", content_length="8"))
        assert not failure(url).permanent

    def test_broken_compression_is_not(self, server):
        assert failure(server.says("/", b"not gzip", content_encoding="gzip")).permanent

    @pytest.mark.parametrize("junk", [b"", b"\x00\xff" * 50, b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 999999 x\r\n\r\n"])
    def test_something_that_speaks_no_http_is_an_error_of_ours(self, server, junk):
        failure(server.does("/", lambda handler: handler.wfile.write(junk)), timeout_s=1.0)

    def test_a_certificate_that_nobody_vouches_for_is_refused(self, server, tmp_path):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed_certificate(tmp_path))
        server.socket = context.wrap_socket(server.socket, server_side=True)
        error = failure(server.url("/", scheme="https"))
        assert error.permanent
        assert server.seen == []

    def test_the_outside_learns_nothing_of_the_address(self):
        body = error_body(OutboundError("10.0.0.7 refused", permanent=False), NOW)
        assert body["error_code"] == "OUTBOUND_FAILED"
        assert "10.0.0.7" not in json.dumps(body)


def self_signed_certificate(directory):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    today = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    certificate = (
        builder.not_valid_before(today - timedelta(1)).not_valid_after(today + timedelta(1)).sign(key, hashes.SHA256())
    )
    path = directory / "server.pem"
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate.public_bytes(serialization.Encoding.PEM))
    return path


class TestGetJson:
    @pytest.mark.parametrize("content_type", ["application/json", "application/jwk-set+json; charset=utf-8"])
    def test_a_document_is_parsed(self, server, content_type):
        assert get_json(server.says("/", b'{"keys": []}', content_type=content_type)) == {"keys": []}

    @pytest.mark.parametrize("body", [b"{", b"<html>", b'{"a": NaN}', b'{"a": 1, "a": 2}', b"\xff"])
    def test_a_broken_document_is_a_permanent_failure(self, server, body):
        with pytest.raises(OutboundError, match="not valid JSON") as caught:
            get_json(server.says("/", body, content_type="application/json"))
        assert caught.value.permanent

    def test_a_page_is_not_taken_for_a_document(self, server):
        with pytest.raises(OutboundError, match="content type"):
            get_json(server.says("/", b"{}", content_type="text/html"))

    def test_a_huge_document_is_refused(self, server):
        with pytest.raises(OutboundError, match="larger than"):
            get_json(server.says("/", b"[" + b"1," * 200_000 + b"1]", content_type="application/json"))
