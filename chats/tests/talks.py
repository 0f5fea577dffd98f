"""Whole conversations, with the jobs behind their answers."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from accounts.tenancy import platform_scope
from chats.choices import ChannelKind, Delivery, Direction, GuardAction, GuardKind, Owner, Role, Verdict
from chats.models import (
    Bot,
    CannedReply,
    Channel,
    ChannelMessage,
    ChatLog,
    Conversation,
    ConversationTag,
    Feedback,
    GuardrailEvent,
    Lead,
    Note,
    OwnershipChange,
    Rating,
    SafetyPolicy,
    Tag,
    VisitorBlock,
)
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


def leave_safety_rows(talk: Conversation) -> None:
    """Rules, a refusal, a block that is over, a channel and a message that it ignored."""
    given = {"business": talk.business}
    with platform_scope():
        SafetyPolicy.objects.create(**given)
        GuardrailEvent.objects.create(**given, conversation=talk, kind=GuardKind.ABUSE, action=GuardAction.REFUSED)
        VisitorBlock.objects.create(**given, conversation=talk, reason="Spam", lifted_at=timezone.now())
        channel = Channel.objects.create(**given, bot=talk.bot, kind=ChannelKind.TELEGRAM, name="T", is_active=False)
        ChannelMessage.objects.create(**given, channel=channel, direction=Direction.IN, delivery=Delivery.IGNORED)


def leave_desk_rows(talk: Conversation) -> None:
    """A note, a tag that is worn, a reply that is ready, and a step of ownership."""
    given = {"business": talk.business}
    with platform_scope():
        Note.objects.create(**given, conversation=talk, text="Call back on Monday.", author_name="Alice")
        tag = Tag.objects.create(**given, name="refund")
        ConversationTag.objects.create(**given, conversation=talk, tag=tag)
        CannedReply.objects.create(**given, shortcut="hours", title="Opening hours", text="Nine to six, {visitor}.")
        OwnershipChange.objects.create(**given, conversation=talk, from_owner=Owner.AI, to_owner=Owner.QUEUE)


def reread(talk: Conversation) -> Conversation:
    with platform_scope():
        found: Conversation = Conversation.objects.select_related("business", "bot", "assignee").get(pk=talk.pk)
    return found


def notes_of(talk: Conversation) -> list[str]:
    with platform_scope():
        return list(ChatLog.objects.filter(conversation=talk, role=Role.SYSTEM).values_list("message", flat=True))
