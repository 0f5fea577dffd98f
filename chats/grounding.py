"""Answers from what a bot was taught: passages into the prompt, or the answer itself where no model is needed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from chats.choices import Role
from chats.models import Bot, ChatLog, Conversation
from knowledge import answering
from knowledge.answering import Asked, Grounding
from miners.models import Job

if TYPE_CHECKING:
    from chats.services import Question

LOOKED_BACK = 3


def ground(bot: Bot, history: Sequence[ChatLog], question: Question) -> Grounding | None:
    """None where the bot was taught nothing or nothing was asked. Two statements, or none."""
    if not question.message:
        return None
    # A model with tools may find the answer with one of them.
    may_refuse = not (question.tools or question.tool_results)
    return ground_words(bot, history, question.message, context=question.context, may_refuse=may_refuse)


def ground_words(
    bot: Bot, history: Sequence[ChatLog], words: str, *, context: str, may_refuse: bool
) -> Grounding | None:
    earlier = [log.message for log in history if log.role == Role.USER]
    return answering.ground(
        Asked(
            business_id=bot.business_id,
            bot_id=bot.pk,
            question=words,
            earlier=earlier[-LOOKED_BACK:],
            facts=f"{bot.business_description}\n{context}",
            languages=bot.languages,
            may_refuse=may_refuse,
        )
    )


def keep_receipt(grounding: Grounding | None, conversation: Conversation, job: Job, now: datetime) -> None:
    if grounding is not None:
        answering.keep_receipt(
            grounding, conversation_id=conversation.public_id, job_id=job.pk, prompt_hash=job.prefix_key, now=now
        )


def check_answer(conversation: Conversation, job: Job, now: datetime) -> list[object]:
    """The sources of an answer that a job brought; markers that do not hold are taken out of its text.

    In platform scope, inside the transaction that ends the job: a changed text reaches every reader as a correction.
    """
    return check_text(job, bot_id=conversation.bot_id, now=now)


def check_text(job: Job, *, bot_id: int, now: datetime) -> list[object]:
    """The same for an answer of this bot that belongs to no conversation."""
    assert job.business_id is not None
    writer = {
        "model": job.model,
        "miner_id": job.miner_id,
        "miner_name": job.miner.name if job.miner is not None else "",
    }
    checked = answering.conclude(
        job_id=job.pk, business_id=job.business_id, bot_id=bot_id, answer=job.output, writer=writer, now=now
    )
    if checked is None:
        return []
    if checked.text != job.output:
        job.output = checked.text
        Job.objects.filter(pk=job.pk).update(output=job.output)
    return list(checked.citations)
