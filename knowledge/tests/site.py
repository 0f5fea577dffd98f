"""A website on this machine that does what real ones do, and what hostile ones do."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from pytest_django import Settings

HOST = "127.0.0.2"
"""Listed as allowed; 127.0.0.1 is not, and stands for everything inside."""


@dataclass
class Answer:
    """What an address answers."""

    body: bytes = b""
    status: int = 200
    media_type: str = "text/html; charset=utf-8"
    headers: dict[str, str] = field(default_factory=dict)


class Site:
    """Pages by path; every request is noted."""

    def __init__(self) -> None:
        self.pages: dict[str, Answer | Callable[[], Answer]] = {}
        self.requests: list[tuple[str, int]] = []
        self.agents: set[str] = set()
        self.posted = b""
        self.server = ThreadingHTTPServer((HOST, 0), self._handler())
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()

    @property
    def port(self) -> int:
        return int(self.server.server_address[1])

    def url(self, path: str = "/") -> str:
        return f"http://{HOST}:{self.port}{path}"

    def page(self, path: str, title: str, *paragraphs: str, links: tuple[str, ...] = (), head: str = "") -> None:
        body = "".join(f"<p>{text}</p>" for text in paragraphs or (f"Everything about {title}, told at length. " * 6,))
        anchors = "".join(f'<a href="{link}">{link}</a> ' for link in links)
        text = (
            f'<!doctype html><html lang="en"><head><title>{title}</title>{head}</head><body><nav>{anchors}</nav>'
            f'<main><h1 id="top">{title}</h1>{body}</main></body></html>'
        )
        self.pages[path] = Answer(text.encode())

    def sitemap(self, *paths: str, at: str = "/sitemap.xml") -> str:
        places = "".join(f"<url><loc>{self.url(path)}</loc></url>" for path in paths)
        self.pages[at] = Answer(
            f"<?xml version='1.0'?><urlset>{places}</urlset>".encode(), media_type="application/xml"
        )
        return self.url(at)

    def asked(self, path: str) -> list[int]:
        return [status for asked, status in self.requests if asked == path]

    def forget(self) -> None:
        self.requests.clear()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.agents.add(self.headers.get("User-Agent", ""))
                found = site.pages.get(self.path, Answer(b"no", 404))
                answer = found() if callable(found) else found
                tag = f'"{hashlib.sha1(answer.body).hexdigest()}"'
                if answer.status == 200 and self.headers.get("If-None-Match") == tag:
                    answer = Answer(status=304)
                site.requests.append((self.path, answer.status))
                self.send_response(answer.status)
                self.send_header("ETag", tag)
                for name, value in {"Content-Type": answer.media_type, **answer.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                self.wfile.write(answer.body)

            def do_POST(self) -> None:
                site.posted = self.rfile.read(int(self.headers.get("Content-Length", "0")))
                self.do_GET()

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    """A website that the platform may fetch from."""
    site = Site()
    settings.OUTBOUND_LOOPBACK_NETWORKS = [f"{HOST}/32"]
    settings.OUTBOUND_ALLOWED_PORTS = [80, 443, site.port]
    yield site
    site.close()
