"""From a checked request to a job of the network: a bot's, with its knowledge, or a raw model's."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast
from uuid import UUID

from accounts.models import Business
from accounts.principals import Principal
from accounts.tenancy import platform_scope
from chats import admission, grounding
from chats.access import own_business_id
from chats.choices import GuardAction, Role
from chats.guardrails import events
from chats.guardrails.attacks import Hit
from chats.guardrails.questions import objection
from chats.guardrails.refusals import refusal_for
from chats.limits import MAX_MESSAGE_CHARS
from chats.masking.mask import Mask
from chats.masking.services import mask_messages
from chats.models import Bot, ChatLog
from chats.openai_api import catalogue
from chats.openai_api.errors import ContextTooLong, ModelNotFound
from chats.openai_api.limits import DEFAULT_MAX_TOKENS
from chats.policies import Policy, policy_of, policy_of_business
from chats.prompts import ChatMessage, build_prompt, tool_message, user_message
from knowledge import answering
from knowledge.answering import Grounding
from knowledge.languages import detect
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
    bot_id: int | None
    values: dict[str, str]
    """What the placeholders stand for that were put in place of personal data."""

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
    policy = policy_of(bot) if bot is not None else policy_of_business(business_id)
    mask = Mask(names=policy.rules.names, region=policy.rules.phone_region)
    asked = Asked(fields, policy, mask, now)
    job = _ask_bot(bot, asked) if bot is not None else _ask_model(business_id, asked)
    return Ticket(
        job_id=job.pk,
        business_id=business_id,
        topic=job.topic,
        model=fields["model"],
        created=int(now.timestamp()),
        stream=bool(fields.get("stream")),
        include_usage=bool((fields.get("stream_options") or {}).get("include_usage")),
        bot_id=bot.pk if bot is not None else None,
        values=mask.values,
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


@dataclass(frozen=True)
class Asked:
    """A request with what holds for it; the mask learns what it hides."""

    fields: Fields
    policy: Policy
    mask: Mask
    now: datetime


def _ask_bot(bot: Bot, asked: Asked) -> Job:
    told, question = _divided(asked.fields["messages"])
    bot = _with_instructions(bot, told)
    history = [_log_of(message) for message in told if message["role"] in ROLE_OF]
    words = " ".join(message["content"] for message in question if message["role"] == "user")[-MAX_MESSAGE_CHARS:]
    # A model with tools may find the answer with one of them.
    has_tools = bool(asked.fields.get("tools")) or any(message["role"] == "tool" for message in question)
    found = _ground(bot, history, words, may_refuse=not has_tools)
    hit = objection(words, bot=bot, policy=asked.policy, grounding=found) if words.strip() else None
    request = _bot_request(bot, history, [_message_of(message) for message in question], asked, found)
    if hit is not None:
        return _refuse(bot, words, hit, request, asked)
    if found is not None and found.direct:
        job = record_answer(business_id=bot.business_id, request=request, output=found.direct, now=asked.now)
    else:
        job = _submit(bot.business_id, request, asked.now)
    if found is not None:
        answering.keep_receipt(found, conversation_id=None, job_id=job.pk, prompt_hash=job.prefix_key, now=asked.now)
    if not job.is_live:
        announce(job, now=asked.now)
    return job


def _refuse(bot: Bot, words: str, hit: Hit, request: JobRequest, asked: Asked) -> Job:
    """The platform's own words, and a line in the record: no miner is asked."""
    language = detect(words, likely=bot.business.locale[:2])
    refusal = refusal_for(hit.kind, language=language, policy=asked.policy)
    job = record_answer(business_id=bot.business_id, request=request, output=refusal, now=asked.now)
    events.record(
        business_id=bot.business_id,
        conversation=None,
        kind=hit.kind,
        action=GuardAction.REFUSED,
        words=words,
        rule=hit.rule,
        job_id=job.pk,
        now=asked.now,
    )
    announce(job, now=asked.now)
    return job


def _ask_model(business_id: int, asked: Asked) -> Job:
    fields = asked.fields
    min_trust = Business.objects.values_list("min_trust", flat=True).get(pk=business_id)
    messages = [_as_told(message) for message in fields["messages"]]
    if asked.policy.masks(min_trust):
        messages = mask_messages(asked.mask, cast("list[ChatMessage]", messages))
    request = _request(
        fields,
        messages=messages,
        max_tokens=_max_tokens(fields) or DEFAULT_MAX_TOKENS,
        model=fields["model"],
        topic=f"{TOPIC}::{uuid.uuid4()}",
        min_trust=min_trust,
    )
    return _submit(business_id, request, asked.now)


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
    bot: Bot, history: list[ChatLog], question: list[ChatMessage], asked: Asked, found: Grounding | None
) -> JobRequest:
    fields = asked.fields
    hides_data = asked.policy.masks(bot.business.min_trust)
    max_tokens = _max_tokens(fields) or bot.max_tokens
    prompt = build_prompt(
        bot=bot,
        history=history,
        question=question,
        context="",
        max_tokens=max_tokens,
        sources=found.context if found is not None else "",
        hides_data=hides_data,
    )
    messages = mask_messages(asked.mask, prompt.messages) if hides_data else [dict(said) for said in prompt.messages]
    return _request(
        {"temperature": bot.temperature, **{name: value for name, value in fields.items() if value is not None}},
        messages=messages,
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
