"""What the database says of a conversation and the answer being written, read by the hot lane in one statement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final
from uuid import UUID

from chats.choices import Role
from chats.masking.mask import restore, restore_calls
from chats.querysets import TOPIC_NAME
from mia.lib import database
from mia.lib.errors import NotFound, format_timestamp
from miners.choices import LIVE_STATES, JobState

SNAPSHOT: Final = """
SELECT c.id AS conversation, c.mode, c.last_job_id, j.id AS job, j.state, j.attempt_count, j.model, j.output,
       j.tool_calls, j.finish_reason, j.prompt_tokens, j.tokens_generated, j.error_code, l.id AS message, l.citations,
       coalesce((SELECT max(id) FROM chats_chatlog WHERE conversation_id = c.id), 0) AS last_log,
       (extract(epoch FROM clock_timestamp() - j.created_at) * 1000)::bigint AS age_ms,
       %(origin)s <> '' AND EXISTS (
           SELECT 1 FROM accounts_apikey k
           WHERE k.business_id = c.business_id AND k.kind = 'publishable' AND k.revoked_at IS NULL
             AND (k.expires_at IS NULL OR k.expires_at > now()) AND k.allowed_origins @> ARRAY[%(origin)s]::varchar[]
       ) AS serves_origin,
       (SELECT jsonb_object_agg(v.placeholder, v.value) FROM chats_maskedvalue v
        WHERE v.conversation_id = c.id AND v.created_at <= j.created_at) AS masked_values,
       b.id AS bot, b.updated_at AS bot_changed_at
FROM chats_conversation c
JOIN chats_bot b ON b.id = c.bot_id
LEFT JOIN miners_job j ON j.id = coalesce(%(job)s::uuid, c.last_job_id) AND j.business_id = c.business_id
                          AND j.topic = %(topic)s
LEFT JOIN chats_chatlog l ON l.business_id = c.business_id AND l.job_id = j.id AND l.role = 'assistant'
WHERE c.public_id = %(conversation)s AND c.business_id = %(business)s
"""

HUMAN_WORDS: Final = """
SELECT id, role, message, author_name, timestamp FROM chats_chatlog
WHERE conversation_id = %(conversation)s AND id > %(after)s AND role = 'agent'
ORDER BY id LIMIT 100
"""

RECENT_HUMAN_WORDS: Final = """
SELECT id, role, message, author_name, timestamp FROM chats_chatlog
WHERE conversation_id = %(conversation)s AND timestamp > now() - interval '15 minutes' AND role = 'agent'
ORDER BY id LIMIT 100
"""


NOTHING_MASKED: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Work:
    """A job as its reader needs it; `output` and `tool_calls` as the visitor may see them."""

    job_id: UUID
    state: str
    attempt: int
    model: str
    output: str
    tool_calls: list[dict[str, Any]]
    finish_reason: str
    prompt_tokens: int
    tokens_generated: int
    error_code: str
    age_ms: int
    message_id: int | None
    citations: list[object]
    masked_values: Mapping[str, str]

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_STATES

    @property
    def is_waiting(self) -> bool:
        return self.state == JobState.QUEUED

    @property
    def is_answered(self) -> bool:
        return self.state == JobState.COMPLETED


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A conversation at one moment; `work` is the job that was asked for, else the last one, if any."""

    conversation_id: int
    mode: str
    last_job_id: UUID | None
    last_log_id: int
    serves_origin: bool
    bot_id: int
    bot_changed_at: datetime
    work: Work | None


async def read_snapshot(*, conversation: UUID, business_id: int, job: UUID | None = None, origin: str = "") -> Snapshot:
    """Raises NotFound, and Unavailable while PostgreSQL is away."""
    parameters = {
        "conversation": conversation,
        "business": business_id,
        "job": job,
        "origin": origin,
        "topic": f"{TOPIC_NAME}:{conversation}",
    }
    rows = await database.fetch(SNAPSHOT, parameters)
    if not rows:
        raise NotFound("There is no such session.")
    row = rows[0]
    return Snapshot(
        conversation_id=row["conversation"],
        mode=row["mode"],
        last_job_id=row["last_job_id"],
        last_log_id=row["last_log"],
        serves_origin=row["serves_origin"],
        bot_id=row["bot"],
        bot_changed_at=row["bot_changed_at"],
        work=None if row["job"] is None else _work(row),
    )


async def read_human_words(conversation_id: int, after: int | None) -> list[dict[str, Any]]:
    """What agents said after a chat log, or in the last quarter of an hour, as `message` events."""
    sql = RECENT_HUMAN_WORDS if after is None else HUMAN_WORDS
    rows = await database.fetch(sql, {"conversation": conversation_id, "after": after})
    return [
        {
            "type": "message",
            "id": row["id"],
            "role": Role(row["role"]).value,
            "content": row["message"],
            "name": row["author_name"],
            "created_at": format_timestamp(row["timestamp"]),
            "job_id": None,
        }
        for row in rows
    ]


def _work(row: dict[str, Any]) -> Work:
    values = row["masked_values"] or NOTHING_MASKED
    return Work(
        job_id=row["job"],
        state=row["state"],
        attempt=row["attempt_count"],
        model=row["model"],
        output=restore(row["output"], values),
        tool_calls=restore_calls(row["tool_calls"] or [], values),
        finish_reason=row["finish_reason"],
        prompt_tokens=row["prompt_tokens"],
        tokens_generated=row["tokens_generated"],
        error_code=row["error_code"],
        age_ms=row["age_ms"],
        message_id=row["message"],
        citations=row["citations"] or [],
        masked_values=values,
    )
