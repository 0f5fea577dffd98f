"""A platform made of scripts: it writes the answers it is told to write, and fails when it is told to."""

from __future__ import annotations

import re
import threading
import time
from typing import Any, Final
from uuid import uuid4

from chats.tests.browser import mock_server
from chats.tests.browser.records import Answer, Conversation, Event, Job, Refusal, Seen

KEY: Final = "mia_pk_demo000001aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
PAGE: Final = (
    '<html lang="en"><meta name="viewport" content="width=device-width"><body><h1>Shop</h1>'
    '<button id="before">Basket</button>{widget}</body></html>'
)


class MockPlatform:
    """The state behind the two servers: the platform itself, and a shop whose pages carry the widget."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.refusals: list[Refusal] = []
        self.requests: list[Seen] = []
        self.conversations: dict[str, Conversation] = {}
        self.replies: dict[str, dict[str, Any]] = {}
        self.down_until = 0.0
        self.key = self.valid_key = KEY
        self.first_message = "Hello! How can I help?"
        self.look: dict[str, str] = {"color": "#2f6b4f", "position": "right", "title": "Fern"}
        self.page_attributes = ""
        self.page_html = PAGE
        self.csp = "default-src 'none'; base-uri 'none'; script-src {api}; connect-src {api}"
        self.csp += "; require-trusted-types-for 'script'; trusted-types 'none'"
        self.news = threading.Condition()
        self.is_closed = False
        self._servers = [mock_server.serve(self, handler) for handler in mock_server.HANDLERS]
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
                conversation, {"type": "error", "job_id": job.id, "error_code": job.answer.error_code, "final": True}
            )
        self.publish(conversation, {**event, "citations": job.answer.citations})
