"""Drafts and summaries that the AI writes for an agent: jobs like any other, never sent by themselves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final, cast
from uuid import UUID

from django.db import models
from django.utils.translation import gettext_lazy as _

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import admission, grounding
from chats.choices import Role
from chats.guardrails.answers import guard_now
from chats.guardrails.leaks import find_leak
from chats.limits import MAX_HISTORY
from chats.masking.mask import Mask, restore
from chats.masking.services import keep, mask_messages, mask_of, settle, values_of
from chats.models import Bot, ChatLog, Conversation
from chats.policies import policy_of
from chats.prompts import ChatMessage, build_prompt, user_message
from mia.lib.errors import InvalidRequest, NotFound
from miners.choices import JobKind, JobState, Lane, Trust
from miners.models import Job
from miners.services import JobRequest, submit_job

TOPIC: Final = "desk"
DRAFT_TOKENS: Final = 400
SUMMARY_TOKENS: Final = 200
DEADLINE: Final = timedelta(seconds=60)


class Wish(models.TextChoices):
    """What an agent wants the AI to write."""

    DRAFT = "draft", _("A draft of the next reply")
    SUMMARY = "summary", _("A summary of the conversation")


TASKS: Final = {
    Wish.DRAFT: "[To you from your colleague, an agent of the business] Write the next reply to the visitor, ready to "
    "be sent, in the visitor's language. Write the reply and nothing else.",
    Wish.SUMMARY: "[To you from your colleague, an agent of the business] Sum up this conversation for me in at most "
    "four short sentences: what the visitor wants, what was answered, what is still open. Write in the language of "
    "{locale}.",
}


@dataclass(frozen=True)
class Draft:
    """Where a draft stands."""

    is_over: bool
    text: str = ""


def ask(*, conversation: Conversation, agent: User, wish: Wish, now: datetime) -> Job:
    """Queues it; `read` says when it is there. Raises InvalidRequest, NoCapacity, RateLimited."""
    bot = Bot.objects.for_business(conversation.business_id).select_related("business").get(pk=conversation.bot_id)
    history = _history(conversation)
    if not history:
        raise InvalidRequest("Nothing was said yet.")
    mask = mask_of(conversation, bot, policy_of(bot))
    request = _request(conversation, bot, history, wish)
    if mask is not None:
        request = settle(mask, conversation, lambda found: _masked(found, request))
    with platform_scope():
        job = submit_job(business_id=conversation.business_id, request=request, now=now)
        admission.admit(job)
    keep(mask, conversation, now)
    return job


def read(*, conversation: Conversation, job_id: UUID) -> Draft:
    """Raises NotFound."""
    topic = topic_of(conversation)
    job = Job.objects.filter(pk=job_id, business_id=conversation.business_id, topic=topic).first()
    if job is None:
        raise NotFound
    if job.is_live:
        return Draft(is_over=False)
    text = restore(job.output, values_of(job, conversation.pk)) if job.state == JobState.COMPLETED else ""
    guard = guard_now(conversation.bot_id)
    is_leak = guard is not None and bool(find_leak(text, guard))
    return Draft(is_over=True, text="" if is_leak else text)


def topic_of(conversation: Conversation) -> str:
    """Not the conversation's own, which its visitor follows."""
    return f"{TOPIC}:{conversation.public_id}"


def _history(conversation: Conversation) -> list[ChatLog]:
    logs = ChatLog.objects.for_business(conversation.business_id).filter(conversation=conversation)
    return list(reversed(logs.exclude(role=Role.SYSTEM).latest(MAX_HISTORY)))


def _request(conversation: Conversation, bot: Bot, history: list[ChatLog], wish: Wish) -> JobRequest:
    said = next((log.message for log in reversed(history) if log.role == Role.USER), "")
    found = grounding.ground_words(bot, history, said, context="", may_refuse=False) if said else None
    history, question = _divided(history, wish, bot.business.locale)
    max_tokens = DRAFT_TOKENS if wish == Wish.DRAFT else SUMMARY_TOKENS
    prompt = build_prompt(
        bot=bot,
        history=history,
        question=[user_message(question)],
        context="",
        max_tokens=max_tokens,
        sources=found.context if found is not None and wish == Wish.DRAFT else "",
        hides_data=True,
    )
    return JobRequest(
        kind=JobKind.API,
        lane=Lane.CHAT,
        messages=[dict(message) for message in prompt.messages],
        params={"max_tokens": max_tokens, "temperature": bot.temperature},
        max_tokens=max_tokens,
        model=bot.model,
        topic=topic_of(conversation),
        affinity_key=conversation.topic,
        prefix_key=prompt.prefix_key,
        min_trust=Trust(bot.business.min_trust),
        deadline=DEADLINE,
        stream=False,
    )


def _divided(history: list[ChatLog], wish: Wish, locale: str) -> tuple[list[ChatLog], str]:
    """The talk so far, and what is asked of the model: a draft is what it would answer the visitor itself."""
    if wish == Wish.DRAFT and history[-1].role == Role.USER:
        return history[:-1], history[-1].message
    return history, TASKS[wish].format(locale=locale)


def _masked(mask: Mask, request: JobRequest) -> JobRequest:
    messages: list[dict[str, Any]] = mask_messages(mask, cast("list[ChatMessage]", request.messages))
    return replace(request, messages=messages)
