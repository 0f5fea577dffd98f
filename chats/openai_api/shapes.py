"""Completions as OpenAI's clients read them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django.utils import timezone

from chats.openai_api.completions import Ticket
from chats.openai_api.errors import with_error
from chats.openai_api.following import Ended
from mia.lib.errors import ApplicationError, error_body

DONE: Final = b"data: [DONE]\n\n"
FINISH_REASONS: Final = frozenset({"stop", "length", "tool_calls", "content_filter"})


def completion(ticket: Ticket, ended: Ended, sources: Sequence[object]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": ended.text, "refusal": None}
    if ended.tool_calls:
        message |= {"content": ended.text or None, "tool_calls": ended.tool_calls}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(ended)}
    return {
        **_head(ticket, "chat.completion"),
        "choices": [choice],
        "usage": usage(ended),
        "sources": list(sources),
    }


def chunk(ticket: Ticket, delta: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A piece of a stream; `more` may hold its finish_reason and, on the last, the sources."""
    choice = {"index": 0, "delta": dict(delta), "logprobs": None, "finish_reason": more.pop("finish_reason", None)}
    return {**_head(ticket, "chat.completion.chunk"), "choices": [choice], **more}


def usage_chunk(ticket: Ticket, ended: Ended) -> dict[str, Any]:
    return {**_head(ticket, "chat.completion.chunk"), "choices": [], "usage": usage(ended)}


def tool_call_deltas(calls: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]}


def usage(ended: Ended) -> dict[str, int]:
    return {
        "prompt_tokens": ended.prompt_tokens,
        "completion_tokens": ended.completion_tokens,
        "total_tokens": ended.prompt_tokens + ended.completion_tokens,
    }


def finish_reason(ended: Ended) -> str:
    if ended.tool_calls:
        return "tool_calls"
    return ended.finish_reason if ended.finish_reason in FINISH_REASONS else "stop"


def event(data: Mapping[str, Any]) -> bytes:
    """One server-sent event; JSON has no line break in it."""
    return f"data: {json.dumps(data, ensure_ascii=False, separators=(',', ':'), default=str)}\n\n".encode()


def error(failure: ApplicationError) -> dict[str, Any]:
    return with_error(error_body(failure, timezone.now()), failure.status)


def _head(ticket: Ticket, kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{ticket.job_id.hex}", "object": kind, "created": ticket.created, "model": ticket.model}
