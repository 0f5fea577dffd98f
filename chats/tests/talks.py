"""Whole conversations, with the jobs behind their answers."""

from __future__ import annotations

from typing import Any

from accounts.tenancy import platform_scope
from chats.choices import Role, Verdict
from chats.models import Bot, ChatLog, Conversation, Feedback, Lead, Rating
from chats.tests.factories import ChatLogFactory, ConversationFactory
from miners.choices import JobState
from miners.models import Miner
from miners.tests.lives import make_life

QUESTION = "What does a tyre cost?"
ANSWER = "A tyre costs 30 francs."


def make_talk(bot: Bot, *, miner: Miner | None = None, **fields: Any) -> Conversation:
    """A question and its answer."""
    talk: Conversation = ConversationFactory(bot=bot, snippet=ANSWER, **fields)
    state = JobState.COMPLETED
    job = make_life(state, miner=miner, business=bot.business, topic=talk.topic)
    ChatLogFactory(conversation=talk, message=QUESTION, job=job)
    ChatLogFactory(conversation=talk, answer=True, job=job, tokens_generated=12, latency_ms=2400)
    with platform_scope():
        Conversation.objects.filter(pk=talk.pk).update(last_job_id=job.pk)
    talk.last_job_id = job.pk
    return talk


def answer_of(talk: Conversation) -> ChatLog:
    with platform_scope():
        log: ChatLog = ChatLog.objects.get(conversation=talk, role=Role.ASSISTANT)
    return log


def leave_everything(talk: Conversation) -> tuple[Feedback, Lead, Rating]:
    """A thumb down, an address and a rating."""
    given = {"business": talk.business, "conversation": talk}
    with platform_scope():
        thumb = Feedback.objects.create(
            business=talk.business, message=answer_of(talk), verdict=Verdict.NEGATIVE, reason="Too dear."
        )
        lead = Lead.objects.create(
            **given, name="Ana", email="ana@example.org", phone="+41 79 555 11 22", note="Call me."
        )
        rating = Rating.objects.create(**given, score=2, comment="Slow.")
    return thumb, lead, rating


def reread(talk: Conversation) -> Conversation:
    with platform_scope():
        found: Conversation = Conversation.objects.select_related("business", "bot", "assignee").get(pk=talk.pk)
    return found


def notes_of(talk: Conversation) -> list[str]:
    with platform_scope():
        return list(ChatLog.objects.filter(conversation=talk, role=Role.SYSTEM).values_list("message", flat=True))
