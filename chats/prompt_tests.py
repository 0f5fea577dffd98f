"""A bot asked its test questions as it is and as a changed form would make it, before the change is saved."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from copy import copy
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.tenancy import business_scope, platform_scope
from chats import grounding
from chats.models import Bot
from chats.prompts import build_prompt, user_message
from chats.services import Question
from knowledge import citations, prompt_gate
from knowledge.answering import Grounding
from knowledge.choices import Outcome
from knowledge.prompt_gate import Ask, PromptVerdict, Said
from miners.apart import apart
from miners.choices import JobKind, JobState, Lane, Trust
from miners.embed_jobs import wait_for
from miners.models import Job
from miners.services import JobRequest, cancel_job, submit_job

PROMPT_FIELDS: Final = frozenset(
    {
        *("name", "role", "tone", "languages", "business_description", "instructions"),
        *("model", "max_tokens", "temperature", "max_context_tokens"),
    }
)
"""What a model is told of a bot, and which model it is."""

WAIT_S: Final = 40.0


def judge_change(bot: Bot, values: Mapping[str, Any], *, now: datetime) -> PromptVerdict:
    """What saving these values would do to the bot's test questions; takes as long as the network, 80 s at most."""
    changed = copy(bot)
    for name in PROMPT_FIELDS & values.keys():
        setattr(changed, name, values[name])
    # As it is in the database: the form has put its values into the bot it was given.
    current = Bot.objects.select_related("business").get(pk=bot.pk)
    return prompt_gate.judge(
        business_id=bot.business_id, bot_id=bot.pk, before=_asking(current), after=_asking(changed), now=now
    )


def _asking(bot: Bot) -> Ask:
    trust = Trust(bot.business.min_trust)

    def ask(questions: Sequence[str]) -> Sequence[Said | None]:
        said = apart(lambda: _answers(bot, questions, trust), timeout_s=WAIT_S + 5)
        return said if said is not None else [None] * len(questions)

    return ask


def _answers(bot: Bot, questions: Sequence[str], trust: Trust) -> list[Said | None]:
    """All are asked at once, and waited for together."""
    give_up = time.monotonic() + WAIT_S
    asked = [_put(bot, question, trust) for question in questions]
    return [one if isinstance(one, Said) else _awaited(*one, give_up - time.monotonic()) for one in asked]


def _put(bot: Bot, question: str, trust: Trust) -> Said | tuple[Job, Grounding | None]:
    """The answer itself where no model is needed, else the job that is to bring it."""
    with business_scope(bot.business_id):
        found = grounding.ground(bot, [], Question(message=question))
    if found is not None and not found.needs_model:
        urls = [citation["url"] for citation in found.cited]
        return Said(found.direct, urls, bool(found.cited), found.outcome == Outcome.REFUSED)
    prompt = build_prompt(
        bot=bot,
        history=[],
        question=[user_message(question)],
        context="",
        max_tokens=bot.max_tokens,
        sources=found.context if found is not None else "",
    )
    request = JobRequest(
        kind=JobKind.API,
        lane=Lane.API,
        messages=[dict(message) for message in prompt.messages],
        params={"max_tokens": bot.max_tokens, "temperature": bot.temperature},
        model=bot.model,
        min_trust=trust,
        max_tokens=bot.max_tokens,
        deadline=timedelta(seconds=WAIT_S),
        stream=False,
    )
    with platform_scope(), transaction.atomic():
        return submit_job(business_id=bot.business_id, request=request, now=timezone.now()), found


def _awaited(job: Job, found: Grounding | None, wait_s: float) -> Said | None:
    ended = wait_for(job.pk, max(0.0, wait_s))
    if ended is None:
        cancel_job(job=job, now=timezone.now())
        return None
    state, _, output = ended
    if state != JobState.COMPLETED:
        return None
    checked = citations.check(output, found.sources if found is not None else [])
    return Said(checked.text, [citation["url"] for citation in checked.citations], bool(checked.citations))
