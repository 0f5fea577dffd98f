"""Callers of the chat API, as their programs would call it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from django.test import Client

from accounts.tenancy import platform_scope
from chats.models import ChatLog, Conversation
from miners.models import Job


@dataclass
class Caller:
    """Somebody with a key; remembers the session of its last reply."""

    key: str
    origin: str | None = None
    session_id: str | None = None
    token: str | None = None
    client: Client = field(default_factory=Client)

    def headers(self, **extra: str) -> dict[str, str]:
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        if self.origin:
            headers["Origin"] = self.origin
        if self.token:
            headers["X-Session-Token"] = self.token
        return {**headers, **{name.replace("_", "-"): value for name, value in extra.items()}}

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        request = getattr(self.client, method)
        if method in {"get", "head"}:
            return request(path, headers=self.headers(**headers))
        return request(path, data=content, content_type="application/json", headers=self.headers(**headers))

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.send("post", path, {} if body is None else body, **headers)

    def get(self, path: str, **headers: str) -> Any:
        return self.send("get", path, **headers)

    def delete(self, path: str, **headers: str) -> Any:
        return self.send("delete", path, **headers)

    def ask(self, message: str = "What does a tyre cost?", headers: dict[str, str] | None = None, **fields: Any) -> Any:
        """A question in the present session, which is opened by the first one; the whole response."""
        body = {"message": message, **({"session_id": self.session_id} if self.session_id else {}), **fields}
        response = self.post("/chat", body, **(headers or {}))
        if response.status_code == 200:
            self.session_id, self.token = response.json()["session_id"], response.json()["session_token"]
        return response

    def asked(self, message: str = "What does a tyre cost?", **fields: Any) -> dict[str, Any]:
        """The reply to a question that must be taken."""
        response = self.ask(message, **fields)
        assert response.status_code == 200, response.content
        return response.json()

    def in_session(self, what: str) -> str:
        return f"/chat/{self.session_id}/{what}"


def job_of(reply: dict[str, Any]) -> Job:
    with platform_scope():
        return Job.objects.get(pk=reply["job_id"])


def conversation_of(reply: dict[str, Any]) -> Conversation:
    with platform_scope():
        return Conversation.objects.select_related("bot", "business").get(public_id=reply["session_id"])


def logs_of(reply: dict[str, Any]) -> list[ChatLog]:
    with platform_scope():
        return list(ChatLog.objects.filter(conversation__public_id=reply["session_id"]))


def count_rows() -> tuple[int, int, int]:
    """Conversations, chat logs and jobs of everybody: nothing may be written by a refused request."""
    with platform_scope():
        return Conversation.objects.count(), ChatLog.objects.count(), Job.objects.count()
