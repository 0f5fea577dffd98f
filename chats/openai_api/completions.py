"""From a checked request to a job of the network: a bot's, with its knowledge, or a raw model's."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from accounts.models import Business
from accounts.principals import Principal
from accounts.tenancy import platform_scope
from chats import admission, grounding
from chats.access import own_business_id
from chats.choices import Role
from chats.limits import MAX_MESSAGE_CHARS
from chats.models import Bot, ChatLog
from chats.openai_api import catalogue
from chats.openai_api.errors import ContextTooLong, ModelNotFound
from chats.openai_api.limits import DEFAULT_MAX_TOKENS
from chats.prompts import ChatMessage, build_prompt, tool_message, user_message
from knowledge import answering
from knowledge.answering import Grounding
from mia.lib.errors import NoCapacity
from miners.choices import JobKind, Lane, Trust
from miners.direct import announce, record_answer
from miners.models import Job, Miner
from miners.services import JobRequest, cancel_job, submit_job

TOPIC: Final = "completion"
PASSED_ON: Final = (
    "temperature",
    "top_p",
    "stop",
    "seed",
    "presence_penalty",
    "frequency_penalty",
    "response_format",
    "parallel_tool_calls",
)
ROLE_OF: Final = {"user": Role.USER, "assistant": Role.ASSISTANT, "tool": Role.TOOL}

Fields = Mapping[str, Any]


@dataclass(frozen=True)
class Ticket:
    """A completion on its way: which job writes it, and how its caller wants it told."""

    job_id: UUID
    business_id: int
    topic: str
    model: str
    created: int
    stream: bool
    include_usage: bool
    has_sources: bool

    def as_dict(self) -> dict[str, Any]:
        return {**vars(self), "job_id": str(self.job_id)}

    @classmethod
    def read(cls, data: Mapping[str, Any]) -> Ticket:
        return cls(**{**data, "job_id": UUID(data["job_id"])})


def submit(*, principal: Principal, fields: Fields, now: datetime) -> Ticket:
    """Queues it in the caller's transaction. Raises ModelNotFound, ContextTooLong, NoCapacity, RateLimited."""
    business_id = own_business_id(principal)
    admission.check_queue(business_id)
    bot = catalogue.bot_named(principal, fields["model"])
    job = _ask_bot(bot, fields, now) if bot is not None else _ask_model(business_id, fields, now)
    return Ticket(
        job_id=job.pk,
        business_id=business_id,
        topic=job.topic,
        model=fields["model"],
        created=int(now.timestamp()),
        stream=bool(fields.get("stream")),
        include_usage=bool((fields.get("stream_options") or {}).get("include_usage")),
        has_sources=bot is not None,
    )


def cancel(ticket: Ticket, now: datetime) -> None:
    """For a caller that hung up; the GPU is free within a second."""
    with platform_scope():
        job = Job.objects.filter(pk=ticket.job_id, business_id=ticket.business_id).live().first()
        if job is not None:
            cancel_job(job=job, now=now)


def bot_id_of(topic: str) -> int | None:
    """The bot whose completion is published under this topic, if it is a bot's."""
    kind, _, rest = topic.partition(":")
    number = rest.partition(":")[0]
    return int(number) if kind == TOPIC and number.isdigit() else None


def check_answer(job: Job, now: datetime) -> None:
    """Holds a bot's answer against its passages, as a chat's is. In the transaction that ends the job."""
    bot_id = bot_id_of(job.topic)
    if bot_id is not None and job.business_id is not None:
        grounding.check_text(job, bot_id=bot_id, now=now)


def _ask_bot(bot: Bot, fields: Fields, now: datetime) -> Job:
    told, asked = _divided(fields["messages"])
    bot = _with_instructions(bot, told)
    history = [_log_of(message) for message in told if message["role"] in ROLE_OF]
    words = " ".join(message["content"] for message in asked if message["role"] == "user")[-MAX_MESSAGE_CHARS:]
    tools = fields.get("tools") or []
    found = _ground(bot, history, words, may_refuse=not tools and all(one["role"] == "user" for one in asked))
    request = _bot_request(bot, history, [_message_of(message) for message in asked], fields, found)
    if found is not None and found.direct:
        job = record_answer(business_id=bot.business_id, request=request, output=found.direct, now=now)
    else:
        job = _submit(bot.business_id, request, now)
    if found is not None:
        answering.keep_receipt(found, conversation_id=None, job_id=job.pk, prompt_hash=job.prefix_key, now=now)
    if not job.is_live:
        announce(job, now=now)
    return job


def _ask_model(business_id: int, fields: Fields, now: datetime) -> Job:
    min_trust = Business.objects.values_list("min_trust", flat=True).get(pk=business_id)
    request = _request(
        fields,
        messages=[_as_told(message) for message in fields["messages"]],
        max_tokens=_max_tokens(fields) or DEFAULT_MAX_TOKENS,
        model=fields["model"],
        topic=f"{TOPIC}::{uuid.uuid4()}",
        min_trust=min_trust,
    )
    return _submit(business_id, request, now)


def _submit(business_id: int, request: JobRequest, now: datetime) -> Job:
    with platform_scope():
        job = submit_job(business_id=business_id, request=request, now=now)
        _require_miner(job, now)
        admission.admit(job)
    return job


def _require_miner(job: Job, now: datetime) -> None:
    """Says at once why nobody can: a program that waits two minutes for an error learns nothing."""
    if Miner.objects.able_to_serve(job, now).exists():
        return
    offered = catalogue.network_models(min_trust=job.min_trust, now=now)
    if job.model and job.model not in offered:
        raise ModelNotFound
    readers = Miner.objects.online(now).filter(trust__gte=job.min_trust)
    longest = max(readers.values_list("max_context", flat=True), default=0)
    if offered and job.context_tokens + job.max_tokens > longest:
        raise ContextTooLong(f"The prompt and the answer together may have {longest} tokens.")
    raise NoCapacity


def _ground(bot: Bot, history: Sequence[ChatLog], words: str, *, may_refuse: bool) -> Grounding | None:
    if not words.strip():
        return None
    return grounding.ground_words(bot, history, words, context="", may_refuse=may_refuse)


def _bot_request(
    bot: Bot, history: list[ChatLog], asked: list[ChatMessage], fields: Fields, found: Grounding | None
) -> JobRequest:
    max_tokens = _max_tokens(fields) or bot.max_tokens
    sources = found.context if found is not None else ""
    prompt = build_prompt(bot=bot, history=history, question=asked, context="", max_tokens=max_tokens, sources=sources)
    return _request(
        {"temperature": bot.temperature, **{name: value for name, value in fields.items() if value is not None}},
        messages=[dict(message) for message in prompt.messages],
        max_tokens=max_tokens,
        model=bot.model,
        topic=f"{TOPIC}:{bot.pk}:{uuid.uuid4()}",
        min_trust=bot.business.min_trust,
        prefix_key=prompt.prefix_key,
    )


def _request(fields: Fields, *, min_trust: int, max_tokens: int, **given: Any) -> JobRequest:
    tools = fields.get("tools") or []
    shape = (fields.get("response_format") or {}).get("type", "text")
    params = {name: fields[name] for name in PASSED_ON if fields.get(name) is not None}
    wanted = {"tools": bool(tools), "json": shape != "text"}
    return JobRequest(
        kind=JobKind.API,
        lane=Lane.API,
        params={**params, "max_tokens": max_tokens},
        max_tokens=max_tokens,
        tools=tools,
        tool_choice=fields.get("tool_choice") or "auto",
        min_trust=Trust(min_trust),
        features=[name for name, is_wanted in wanted.items() if is_wanted],
        **given,
    )


def _max_tokens(fields: Fields) -> int | None:
    return fields.get("max_completion_tokens") or fields.get("max_tokens")


def _divided(messages: Sequence[Fields]) -> tuple[list[Fields], list[Fields]]:
    """The talk so far, and what is asked now: everything after the last answer."""
    last = max((i for i, message in enumerate(messages) if message["role"] == "assistant"), default=-1)
    now = [message for message in messages[last + 1 :] if message["role"] in ROLE_OF]
    before = [message for i, message in enumerate(messages) if i <= last or message["role"] not in ROLE_OF]
    return before, [{**message, "content": message.get("content") or ""} for message in now]


def _with_instructions(bot: Bot, told: Sequence[Fields]) -> Bot:
    """The business's own program may add to its bot's instructions; the copy is never saved."""
    added = [message["content"] for message in told if message["role"] in {"system", "developer"}]
    if not added:
        return bot
    instructed = copy.copy(bot)
    instructed.instructions = "\n\n".join(filter(None, [bot.instructions, *added]))
    return instructed


def _log_of(message: Fields) -> ChatLog:
    return ChatLog(
        role=ROLE_OF[message["role"]],
        message=message.get("content") or "",
        tool_calls=[_plain(call) for call in message.get("tool_calls") or []],
        tool_call_id=message.get("tool_call_id", ""),
    )


def _message_of(message: Fields) -> ChatMessage:
    if message["role"] == "tool":
        return tool_message(message["tool_call_id"], message["content"])
    return user_message(message["content"])


def _as_told(message: Fields) -> dict[str, Any]:
    told: dict[str, Any] = {
        "role": "system" if message["role"] == "developer" else message["role"],
        "content": message.get("content") or "",
    }
    if message.get("tool_calls"):
        told["tool_calls"] = [_plain(call) for call in message["tool_calls"]]
    if message["role"] == "tool":
        told["tool_call_id"] = message["tool_call_id"]
    return told


def _plain(call: Fields) -> dict[str, Any]:
    return {**call, "function": dict(call["function"])}
