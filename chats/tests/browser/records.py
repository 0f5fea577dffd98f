"""What the scripted platform keeps: scripts, jobs, conversations, and the requests it has seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

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
    citations: list[dict[str, object]] = field(default_factory=list)

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
