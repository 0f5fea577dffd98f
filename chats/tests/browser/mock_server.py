"""The HTTP side of the scripted platform: the chat endpoints as protocol.md has them, and a shop that uses them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

from chats.tests.browser.records import Conversation, Event, Seen

if TYPE_CHECKING:
    from chats.tests.browser.mock_platform import MockPlatform

CHATS: Final = Path(__file__).resolve().parents[2]
STATIC: Final = CHATS / "static"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}


class Handler(BaseHTTPRequestHandler):
    """What both servers share: reading a request, sending a body."""

    platform: MockPlatform
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests read `platform.requests`."""

    def send(self, body: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_file(self, path: Path) -> None:
        self.send(path.read_bytes(), Content_Type=f"{TYPES[path.suffix]}; charset=utf-8")


class ShopHandler(Handler):
    """A page of some shop, under the strictest content security policy that lets the widget in."""

    def do_GET(self) -> None:
        platform = self.platform
        attributes = f'data-key="{platform.key}" {platform.page_attributes}'
        tag = f'<script async src="{platform.url}/widget.js" {attributes}></script>'
        page = "<!doctype html>" + platform.page_html.replace("{widget}", tag)
        policy = platform.csp.replace("{api}", platform.url)
        self.send(page.encode(), Content_Type="text/html; charset=utf-8", Content_Security_Policy=policy)


class ApiHandler(Handler):
    """The chat endpoints, `/widget.js`, and the demo page."""

    def do_OPTIONS(self) -> None:
        allowed = "Authorization, Content-Type, X-Session-Token, Idempotency-Key, Last-Event-ID"
        headers = {"Access_Control_Allow_Headers": allowed, "Access_Control_Allow_Methods": "GET, POST, DELETE"}
        self.send(b"", 204, **(self._cors() | headers if self._cors() else {}))

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_DELETE(self) -> None:
        self._route("DELETE")

    def _route(self, method: str) -> None:
        parts = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.platform.requests.append(Seen(method, parts.path, dict(self.headers), json.loads(body or b"{}")))
        if time.monotonic() < self.platform.down_until:
            self._cut()
            return
        for pattern, handler in ROUTES:
            if found := re.fullmatch(pattern, f"{method} {parts.path}"):
                handler(self, *found.groups())
                return
        self._refuse(404, "NOT_FOUND")

    def widget(self) -> None:
        self.send_file(STATIC / "chats/widget.js")

    def static(self, name: str) -> None:
        self.send_file(STATIC / name)

    def demo(self) -> None:
        page = render_demo(self.platform.key if "nokey" not in self.path else "")
        policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'"
        policy += "; require-trusted-types-for 'script'; trusted-types 'none'"
        self.send(page.encode(), Content_Type="text/html; charset=utf-8", Content_Security_Policy=policy)

    def config(self) -> None:
        if not self._is_allowed():
            return
        platform = self.platform
        bot = {"id": 1, "name": "Fern", "first_message": platform.first_message, "languages": [], "look": platform.look}
        self._json({"bot": bot, "locale": "en"})

    def chat(self) -> None:
        if not self._is_allowed():
            return
        platform, seen = self.platform, self.platform.requests[-1]
        refusal = platform.refusals.pop(0) if platform.refusals else None
        if refusal and not refusal.lose_reply:
            self._refuse(refusal.status, refusal.code, refusal.retry_after_s)
            return
        if (seen.body.get("session_id") or "") and not self._conversation(seen.body["session_id"]):
            return
        key = seen.headers["Idempotency-Key"]
        platform.replies[key] = platform.replies.get(key) or platform.take(seen.body)
        if refusal:
            self._cut()
            return
        self._json(platform.replies[key])

    def messages(self, session_id: str) -> None:
        conversation = self._conversation(session_id) if self._is_allowed() else None
        if conversation is None:
            return
        job = conversation.active_job()
        active = {"job_id": job.id, "stream_url": self.platform.stream_url(conversation, job)} if job else None
        shown = {
            "session_id": session_id,
            "mode": conversation.mode,
            "status": "open",
            "messages": conversation.messages,
        }
        self._json({**shown, "active_job": active})

    def stream_token(self, session_id: str) -> None:
        conversation = self._conversation(session_id) if self._is_allowed() else None
        if conversation:
            url = self.platform.stream_url(conversation, conversation.active_job())
            self._json({"stream_token": url.partition("=")[2], "stream_url": url})

    def cancel(self, job_id: str) -> None:
        for conversation in self.platform.conversations.values():
            if job_id in conversation.jobs:
                conversation.jobs[job_id].is_cancelled = True
        self._json({"status": "cancelled"})

    def events(self, session_id: str) -> None:
        conversation = self.platform.conversations.get(session_id)
        token = parse_qs(urlsplit(self.path).query).get("stream_token", [""])[0]
        if conversation is None or token not in conversation.stream_tokens:
            self._refuse(401, "NOT_AUTHENTICATED")
            return
        self.close_connection = True
        self.send_response(HTTPStatus.OK)
        for name, value in {"Content-Type": "text/event-stream", "Connection": "close", **self._cors_headers()}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self._stream(conversation, conversation.stream_tokens[token])
        except OSError:
            return

    def _stream(self, conversation: Conversation, job_id: str | None) -> None:
        self._write("retry: 2000\n\n")
        sent = 0
        for event in self._follow(conversation, job_id):
            self._write(as_sse(event))
            job = conversation.jobs.get(event.get("job_id", ""))
            sent += event["type"] == "delta"
            if job and job.answer.drops and job.answer.drop_after is not None and sent >= job.answer.drop_after:
                job.answer.drops -= 1
                self.platform.down_until = time.monotonic() + job.answer.down_s
                return

    def _follow(self, conversation: Conversation, job_id: str | None) -> Iterator[Event]:
        """Events after the one that Last-Event-ID names; else from the job's first; else those to come."""
        last = self.headers.get("Last-Event-ID")
        seen_attempt, seen_offset = (int(part) for part in (last or "0.0").split("."))
        of_job = (i for i, event in enumerate(conversation.events) if event.get("job_id") == job_id)
        position = next(of_job, len(conversation.events)) if job_id else len(conversation.events)
        while not self.platform.is_closed:
            for event in conversation.events[position:]:
                position += 1
                attempt, end = event.get("attempt", 0), event.get("offset", 0) + len(event.get("text", ""))
                known = {"delta": (attempt, end), "reset": (attempt, 0)}.get(event["type"])
                if last is None or known is None or known > (seen_attempt, seen_offset):
                    yield event
            with self.platform.news:
                if position == len(conversation.events):
                    self.platform.news.wait(timeout=15)
            if position == len(conversation.events):
                self._write(": still here\n\n")

    def _write(self, text: str) -> None:
        self.wfile.write(text.encode())
        self.wfile.flush()

    def _conversation(self, session_id: str) -> Conversation | None:
        conversation = self.platform.conversations.get(session_id)
        if conversation is None or self.headers.get("X-Session-Token") != conversation.token:
            self._refuse(404, "NOT_FOUND")
            return None
        return conversation

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization") != f"Bearer {self.platform.valid_key}":
            self._refuse(401, "NOT_AUTHENTICATED")
            return False
        origin = self.headers.get("Origin")
        if origin is None and self.headers.get("Sec-Fetch-Site") == "same-origin":
            origin = f"http://{self.headers['Host']}"
        if origin not in self.platform.allowed_origins:
            self._refuse(403, "ORIGIN_NOT_ALLOWED")
            return False
        return True

    def _cors(self) -> dict[str, str]:
        origin = self.headers.get("Origin", "")
        if origin not in self.platform.allowed_origins:
            return {}
        return {"Access_Control_Allow_Origin": origin, "Access_Control_Expose_Headers": "Retry-After"}

    def _cors_headers(self) -> dict[str, str]:
        return {name.replace("_", "-"): value for name, value in self._cors().items()}

    def _json(self, data: object, status: int = 200, **headers: str) -> None:
        self.send(json.dumps(data).encode(), status, Content_Type="application/json", **self._cors(), **headers)

    def _refuse(self, status: int, code: str, retry_after_s: int | None = None) -> None:
        headers = {} if retry_after_s is None else {"Retry_After": str(retry_after_s)}
        self._json({"detail": "Refused.", "error_code": code, "timestamp": "2026-01-01T00:00:00Z"}, status, **headers)

    def _cut(self) -> None:
        """Closes the connection without a word."""
        self.close_connection = True
        self.connection.close()


ROUTES: Final[list[tuple[str, Callable[..., None]]]] = [
    (r"GET /widget\.js", ApiHandler.widget),
    (r"GET /static/(.+)", ApiHandler.static),
    (r"GET /demo/", ApiHandler.demo),
    (r"GET /chat/config", ApiHandler.config),
    (r"POST /chat", ApiHandler.chat),
    (r"GET /chat/([\w-]+)/messages", ApiHandler.messages),
    (r"POST /chat/([\w-]+)/stream_token", ApiHandler.stream_token),
    (r"GET /chat/([\w-]+)/events", ApiHandler.events),
    (r"DELETE /job/([\w-]+)", ApiHandler.cancel),
]


def as_sse(event: Event) -> str:
    name, data = event["type"], json.dumps(event)
    if name == "delta":
        return f"id: {event['attempt']}.{event['offset'] + len(event['text'])}\nevent: delta\ndata: {data}\n\n"
    if name == "reset":
        return f"id: {event['attempt']}.0\nevent: reset\ndata: {data}\n\n"
    return f"event: {name}\ndata: {data}\n\n"


def render_demo(key: str) -> str:
    """The demo template, with the few tags it uses; the platform's own test renders it with Django."""
    text = (CHATS / "templates/chats/demo.html").read_text()
    text = re.sub(r"{% load static %}\n?", "", text)
    text = re.sub(r"{% static '([^']+)' %}", r"/static/\1", text)
    text = re.sub(
        r"{% if publishable_key %}(.*?){% else %}(.*?){% endif %}", r"\1" if key else r"\2", text, flags=re.DOTALL
    )
    return text.replace("{{ publishable_key }}", key)


HANDLERS: Final = (ApiHandler, ShopHandler)


def serve(platform: MockPlatform, handler: type[Handler]) -> ThreadingHTTPServer:
    bound = type(handler.__name__, (handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
