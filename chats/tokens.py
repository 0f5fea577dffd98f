"""Signed tokens: what a visitor holds for a session, and what a browser that sets no headers shows for its stream."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.core import signing

SESSION_SALT = "chats.session"
STREAM_SALT = "chats.stream"
SESSION_LIFETIME = timedelta(days=30)
STREAM_LIFETIME = timedelta(minutes=15)
MAX_TOKEN_CHARS = 400


@dataclass(frozen=True, slots=True)
class Pass:
    """What a good token says: whose conversation, and for which job it was handed out, if for one."""

    conversation_id: UUID
    business_id: int
    job_id: UUID | None = None


def session_token(*, conversation_id: UUID, business_id: int) -> str:
    return signing.dumps([conversation_id.hex, business_id], salt=SESSION_SALT)


def stream_token(*, conversation_id: UUID, business_id: int, job_id: UUID | None = None) -> str:
    """With a job, the stream starts at that job's first word even if it has ended meanwhile."""
    claims: list[object] = [conversation_id.hex, business_id]
    if job_id is not None:
        claims.append(job_id.hex)
    return signing.dumps(claims, salt=STREAM_SALT)


def read_session_token(token: str) -> Pass | None:
    return _read(token, SESSION_SALT, SESSION_LIFETIME)


def read_stream_token(token: str) -> Pass | None:
    return _read(token, STREAM_SALT, STREAM_LIFETIME)


def _read(token: str, salt: str, lifetime: timedelta) -> Pass | None:
    if not token or len(token) > MAX_TOKEN_CHARS or not token.isascii():
        return None
    try:
        conversation_id, business_id, *job_id = signing.loads(token, salt=salt, max_age=lifetime)
        return Pass(UUID(conversation_id), int(business_id), UUID(job_id[0]) if job_id else None)
    except (signing.BadSignature, ValueError, TypeError):
        return None
