"""What callers are told, built from rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypedDict
from uuid import UUID

from chats.choices import Mode
from chats.masking.services import calls_of, output_of
from chats.models import Bot, ChatLog, Conversation, Feedback
from chats.tokens import session_token, stream_token
from mia.lib.errors import format_timestamp
from miners.choices import JobState
from miners.models import Job

QUEUED_MESSAGE: Final = "Job queued successfully"
ANSWERED_MESSAGE: Final = "Job completed successfully"
DELIVERED_MESSAGE: Final = "Message delivered to the team"
STATUS_OF: Final[Mapping[str, str]] = {
    JobState.QUEUED: "queued",
    JobState.OFFERED: "processing",
    JobState.RUNNING: "processing",
    JobState.COMPLETED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELLED: "cancelled",
    JobState.EXPIRED: "expired",
}


class Taken(TypedDict):
    """What became of a message, without any token: this may be stored."""

    job_id: str | None
    session_id: str
    status: str
    mode: str
    message: str
    response: str | None
    tool_calls: None
    citations: list[object]
    poll_url: str | None
    position: int | None
    eta_ms: int | None


class Reply(Taken):
    """The whole reply to a message."""

    session_token: str
    stream_url: str


class JobResult(TypedDict):
    """A finished answer."""

    response: str
    tool_calls: list[object] | None
    citations: list[object]
    tokens_generated: int
    processing_time: float


def queued(conversation: Conversation, job: Job, position: int, eta_ms: int | None) -> Taken:
    return {
        **_taken(conversation),
        "job_id": str(job.pk),
        "status": "queued",
        "message": QUEUED_MESSAGE,
        "poll_url": f"/job/{job.pk}/result",
        "position": position,
        "eta_ms": eta_ms,
    }


def answered(conversation: Conversation, job: Job, citations: list[object]) -> Taken:
    """The answer is here already: nobody has to be waited for."""
    return {
        **_taken(conversation),
        "job_id": str(job.pk),
        "status": "completed",
        "message": ANSWERED_MESSAGE,
        "response": output_of(job),
        "citations": citations,
        "poll_url": f"/job/{job.pk}/result",
    }


def delivered(conversation: Conversation) -> Taken:
    return {**_taken(conversation), "status": "delivered", "message": DELIVERED_MESSAGE}


def with_tokens(taken: Taken, business_id: int) -> Reply:
    """The whole reply; the tokens are made now, so that a repeated reply carries good ones."""
    conversation_id = UUID(taken["session_id"])
    job_id = UUID(taken["job_id"]) if taken["job_id"] else None
    return {
        **taken,
        "session_token": session_token(conversation_id=conversation_id, business_id=business_id),
        "stream_url": stream_url(conversation_id, business_id, job_id),
    }


def stream_url(conversation_id: UUID, business_id: int, job_id: UUID | None = None) -> str:
    token = stream_token(conversation_id=conversation_id, business_id=business_id, job_id=job_id)
    return f"/chat/{conversation_id}/events?stream_token={token}"


def job_reply(job: Job, citations: Sequence[object]) -> dict[str, Any]:
    result = job_result(job, citations) if job.state == JobState.COMPLETED else None
    return {"job_id": str(job.pk), "status": STATUS_OF[job.state], "result": result}


def job_result(job: Job, citations: Sequence[object]) -> JobResult:
    took = job.processing_time
    return {
        "response": output_of(job),
        "tool_calls": calls_of(job) or None,
        "citations": list(citations),
        "tokens_generated": job.tokens_generated,
        "processing_time": round(took.total_seconds(), 3) if took else 0.0,
    }


def message(log: ChatLog, feedback: Feedback | None = None) -> dict[str, Any]:
    return {
        "id": log.pk,
        "role": log.role,
        "content": log.message,
        "name": log.author_name,
        "created_at": format_timestamp(log.timestamp),
        "job_id": str(log.job_id) if log.job_id else None,
        "tool_calls": log.tool_calls,
        "citations": log.citations,
        "feedback": feedback.verdict if feedback else None,
    }


def messages(
    conversation: Conversation, logs: Sequence[ChatLog], job: Job | None, before: int | None
) -> dict[str, Any]:
    """`logs` oldest first; `job` the one that is being answered, if any."""
    active = None
    if job is not None:
        url = stream_url(conversation.public_id, conversation.business_id, job.pk)
        active = {"job_id": str(job.pk), "stream_url": url}
    return {
        "session_id": str(conversation.public_id),
        "mode": conversation.mode,
        "status": conversation.status,
        "messages": [message(log, getattr(log, "feedback", None)) for log in logs],
        "active_job": active,
        "before": before,
    }


def config(bot: Bot) -> dict[str, Any]:
    look = {"color": bot.color, "position": bot.position, "title": bot.title or bot.name}
    return {
        "bot": {
            "id": bot.pk,
            "name": bot.name,
            "first_message": bot.first_message,
            "confirmation_message": bot.confirmation_message,
            "languages": bot.languages,
            "look": look,
        },
        "locale": bot.business.locale,
    }


def _taken(conversation: Conversation) -> Taken:
    return {
        "job_id": None,
        "session_id": str(conversation.public_id),
        "status": "delivered",
        "mode": Mode(conversation.mode).value,
        "message": DELIVERED_MESSAGE,
        "response": None,
        "tool_calls": None,
        "citations": [],
        "poll_url": None,
        "position": None,
        "eta_ms": None,
    }
