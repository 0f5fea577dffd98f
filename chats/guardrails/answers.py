"""Answers held against what must not be told: while they are written, and before they are final."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from django.db import OperationalError

from accounts.recent import RecentAnswers
from accounts.tenancy import platform_scope
from chats.admittance import in_thread
from chats.choices import GuardAction, GuardKind
from chats.guardrails import events
from chats.guardrails.leaks import Guard, find_leak
from chats.guardrails.refusals import refusal_for
from chats.masking.mask import restore
from chats.masking.services import values_of
from chats.models import Bot, Conversation
from chats.policies import policy_of
from chats.prompts import guarded_texts, sayings
from chats.querysets import conversation_of
from mia.lib.errors import Unavailable
from miners.models import Job
from miners.results import answer_instead
from miners.streams import read_text

REMEMBERED_S: Final = 5.0
GUARDS_REMEMBERED: Final = 2_000
FINISH_REASON: Final = "content_filter"

_guards: RecentAnswers[Guard | None] = RecentAnswers(REMEMBERED_S, GUARDS_REMEMBERED)


async def guard_of(bot_id: int, changed_at: datetime) -> Guard | None:
    """What this bot must not tell; remembered for seconds, and anew when the bot changes."""
    known = _guards.look((bot_id, changed_at))
    return known[0] if known else await in_thread(_remembered_guard)(bot_id, changed_at)


def guard_now(bot_id: int) -> Guard | None:
    """The same, blocking, for whoever does not know when the bot was changed."""
    return _guards.get((bot_id, None), lambda: _read_guard(bot_id))


def guard_for(bot: Bot) -> Guard:
    public = [bot.business_description, bot.first_message, bot.confirmation_message, *sayings(bot.instructions)]
    return Guard.of(guarded_texts(bot), phrases=policy_of(bot).rules.guarded_texts, public=public)


def check_answer(conversation: Conversation, job: Job, now: datetime) -> None:
    """Puts a refusal in the place of an answer that tells what it must not. No statement for most.

    In platform scope, inside the transaction that ends the job: every reader gets the changed text as a correction.
    """
    guard = guard_now(conversation.bot_id)
    if guard is None or job.finish_reason == FINISH_REASON:
        return
    leak = find_leak(restore(job.output, values_of(job, conversation.pk)), guard)
    if not leak:
        return
    bot = Bot.objects.for_business(conversation.business_id).select_related("business").get(pk=conversation.bot_id)
    job.output, job.tool_calls = _refusal(conversation, bot), None
    job.finish_reason = FINISH_REASON
    Job.objects.filter(pk=job.pk).update(output=job.output, tool_calls=None, finish_reason=FINISH_REASON)
    _record(conversation, bot, job, leak, GuardAction.REPLACED, now)


def stop_leak(*, job_id: UUID, business_id: int, now: datetime) -> bool:
    """Ends an answer that has begun to leak with a refusal; False where it had ended, or another reader was first.

    Raises Unavailable while PostgreSQL is away: then the answer is judged when it ends.
    """
    try:
        return _stop_leak(job_id, business_id, now)
    except OperationalError as error:
        raise Unavailable from error


def _stop_leak(job_id: UUID, business_id: int, now: datetime) -> bool:
    with platform_scope():
        job = Job.objects.filter(pk=job_id, business_id=business_id).live().first()
        conversation = conversation_of(business_id, job.topic) if job is not None else None
        if job is None or conversation is None:
            return False
        bot = Bot.objects.for_business(business_id).select_related("business").get(pk=conversation.bot_id)
        leak = find_leak(read_text(job_id), guard_for(bot))
        if not leak or not answer_instead(
            job=job, output=_refusal(conversation, bot), finish_reason=FINISH_REASON, now=now
        ):
            return False
        _record(conversation, bot, job, leak, GuardAction.STOPPED, now)
    return True


def _remembered_guard(bot_id: int, changed_at: datetime) -> Guard | None:
    return _guards.get((bot_id, changed_at), lambda: _read_guard(bot_id))


def forget_guards() -> None:
    """Has every guard made again: for tests, whose databases come and go."""
    _guards.clear()


def _read_guard(bot_id: int) -> Guard | None:
    with platform_scope():
        bot = Bot.objects.filter(pk=bot_id).select_related("business").first()
        return None if bot is None else guard_for(bot)


def _refusal(conversation: Conversation, bot: Bot) -> str:
    return refusal_for(GuardKind.LEAK, language=conversation.language or bot.business.locale[:2], policy=policy_of(bot))


def _record(conversation: Conversation, bot: Bot, job: Job, leak: str, action: GuardAction, now: datetime) -> None:
    kind = GuardKind.LEAK if find_leak(leak, Guard.of(guarded_texts(bot))) else GuardKind.GUARDED
    events.record(
        business_id=conversation.business_id,
        conversation=conversation,
        kind=kind,
        action=action,
        words=leak,
        job_id=job.pk,
        now=now,
    )
