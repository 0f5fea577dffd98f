"""A platform made of scripts: it speaks the chat part of the protocol and fails when it is told to."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

CHATS: Final = Path(__file__).resolve().parents[2]
STATIC: Final = CHATS / "static"
KEY: Final = "mia_pk_demo000001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".html": "text/html"}
Event = dict[str, Any]


@dataclass(frozen=True)
class Refusal:
    """An answer to POST /chat that is none."""

    status: int
    code: str = "SERVER_ERROR"
    retry_after_s: int | None = None
    lose_reply: bool = False


@dataclass
class Answer:
    """What the network will write, and what goes wrong meanwhile."""

    pieces: list[str]
    delay_s: float = 0.03
    before_s: float = 0.05
    drop_after: int | None = None
    drops: int = 1
    down_s: float = 0.0
    reset_after: int | None = None
    restart_pieces: list[str] | None = None
    expire_token: bool = False
    status: str = "completed"
    error_code: str = ""
    position: int = 1
    whole: bool = False
    citations: list[dict[str, Any]] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.restart_pieces or self.pieces)


@dataclass
class Job:
    """One answer on its way: a log of events that only grows."""

    id: str
    answer: Answer
    is_done: bool = False
    is_cancelled: bool = False


@dataclass
class Conversation:
    """What both sides have said, and every event about it."""

    id: str = field(default_factory=lambda: str(uuid4()))
    token: str = field(default_factory=lambda: uuid4().hex)
    mode: str = "ai"
    messages: list[dict[str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    jobs: dict[str, Job] = field(default_factory=dict)
    stream_tokens: dict[str, str | None] = field(default_factory=dict)

    def say(self, role: str, content: str, **more: Any) -> dict[str, Any]:
        message = {
            "id": len(self.messages) + 1,
            "role": role,
            "content": content,
            "citations": [],
            "job_id": None,
            **more,
        }
        self.messages.append({**message, "created_at": datetime.now(UTC).isoformat()})
        return self.messages[-1]

    def active_job(self) -> Job | None:
        return next((job for job in self.jobs.values() if not job.is_done), None)


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


class MockPlatform:
    """The state behind the two servers: the platform itself, and a shop whose pages carry the widget."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.refusals: list[Refusal] = []
        self.requests: list[Seen] = []
        self.conversations: dict[str, Conversation] = {}
        self.replies: dict[str, dict[str, Any]] = {}
        self.down_until = 0.0
        self.key = KEY
        self.first_message = "Hello! How can I help?"
        self.look: dict[str, str] = {"color": "#2f6b4f", "position": "right", "title": "Fern"}
        self.page_attributes = ""
        self.page_html = '<html lang="en"><meta name="viewport" content="width=device-width"><body><h1>Shop</h1><button id="before">Basket</button>{widget}</body></html>'
        self.csp = "default-src 'none'; base-uri 'none'; script-src {api}; connect-src {api}"
        self.csp += "; require-trusted-types-for 'script'; trusted-types 'none'"
        self.news = threading.Condition()
        self.is_closed = False
        self._servers = [_serve(self, handler) for handler in (ApiHandler, ShopHandler)]
        self.url, self.shop_url = (f"http://127.0.0.1:{server.server_port}" for server in self._servers)
        self.allowed_origins = {self.url, self.shop_url}

    def close(self) -> None:
        self.is_closed = True
        self.tell()
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def tell(self) -> None:
        with self.news:
            self.news.notify_all()

    def publish(self, conversation: Conversation, event: Event) -> None:
        conversation.events.append(event)
        self.tell()

    def only_conversation(self) -> Conversation:
        (conversation,) = self.conversations.values()
        return conversation

    def count(self, method: str, pattern: str) -> int:
        return len(self.seen(method, pattern))

    def seen(self, method: str, pattern: str) -> list[Seen]:
        return [each for each in self.requests if each.method == method and re.fullmatch(pattern, each.path)]

    def take(self, body: dict[str, Any]) -> dict[str, Any]:
        """Stores a visitor's message and sets the network to work."""
        conversation = self.conversations.get(body.get("session_id") or "") or Conversation()
        self.conversations[conversation.id] = conversation
        if conversation.mode == "human":
            conversation.say("user", body["message"])
            return self._reply(conversation, None)
        answer = self.answers.pop(0) if self.answers else Answer(["You ", "said: ", body["message"]])
        job = Job(str(uuid4()), answer)
        conversation.say("user", body["message"], job_id=job.id)
        conversation.jobs[job.id] = job
        threading.Thread(target=self._write, args=(conversation, job), daemon=True).start()
        return self._reply(conversation, job)

    def stream_url(self, conversation: Conversation, job: Job | None) -> str:
        token = uuid4().hex
        expired = job is not None and job.answer.expire_token
        if job is not None:
            job.answer.expire_token = False
        if not expired:
            conversation.stream_tokens[token] = job.id if job else None
        return f"/chat/{conversation.id}/events?stream_token={token}"

    def _reply(self, conversation: Conversation, job: Job | None) -> dict[str, Any]:
        return {
            "job_id": job.id if job else None,
            "session_id": conversation.id,
            "session_token": conversation.token,
            "status": "queued" if job else "delivered",
            "mode": conversation.mode,
            "message": "ok",
            "response": None,
            "citations": [],
            "stream_url": self.stream_url(conversation, job),
            "position": job.answer.position if job else None,
            "eta_ms": 1000,
        }

    def _write(self, conversation: Conversation, job: Job) -> None:
        answer = job.answer
        self.publish(conversation, {"type": "queued", "job_id": job.id, "position": answer.position, "eta_ms": 500})
        time.sleep(answer.before_s)
        self.publish(conversation, {"type": "started", "job_id": job.id, "attempt": 1, "model": "mock"})
        text = self._stream(conversation, job, 1, answer.pieces[: answer.reset_after])
        if answer.reset_after is not None:
            self.publish(conversation, {"type": "started", "job_id": job.id, "attempt": 2, "model": "mock"})
            self.publish(conversation, {"type": "reset", "job_id": job.id, "attempt": 2})
            text = self._stream(conversation, job, 2, answer.restart_pieces or answer.pieces)
        self._end(conversation, job, text)

    def _stream(self, conversation: Conversation, job: Job, attempt: int, pieces: list[str]) -> str:
        text = ""
        for piece in pieces:
            if job.is_cancelled or self.is_closed:
                break
            event = {"type": "delta", "job_id": job.id, "attempt": attempt, "offset": len(text), "text": piece}
            text += piece
            if not job.answer.whole:
                self.publish(conversation, event)
                time.sleep(job.answer.delay_s)
        return text

    def _end(self, conversation: Conversation, job: Job, text: str) -> None:
        status = "cancelled" if job.is_cancelled else job.answer.status
        if text and status == "completed":
            conversation.say("assistant", text, job_id=job.id, citations=job.answer.citations)
        job.is_done = True
        event = {"type": "done", "job_id": job.id, "status": status, "finish_reason": "stop", "usage": {}}
        if job.answer.error_code:
            self.publish(
                conversation, {"type": "error", "job_id": job.id, "error_code": job.answer.error_code, "detail": "…"}
            )
        self.publish(conversation, {**event, "citations": job.answer.citations})


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
        tag = f'<script async src="{platform.url}/widget.js" data-key="{platform.key}" {platform.page_attributes}></script>'
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
        page = render_demo(KEY if "nokey" not in self.path else "")
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
        if self.headers.get("Authorization") != f"Bearer {KEY}":
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


def _serve(platform: MockPlatform, handler: type[Handler]) -> ThreadingHTTPServer:
    bound = type(handler.__name__, (handler,), {"platform": platform})
    server = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    return server
