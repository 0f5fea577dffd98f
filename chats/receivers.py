"""What chats does when the network ends a job: in the same transaction, so that both are there or neither."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from chats.channels import outbox
from chats.choices import ChannelKind, HandoffReason, Owner, Role, Status
from chats.desk import ownership
from chats.grounding import check_answer
from chats.guardrails import answers
from chats.masking.mask import restore, restore_calls
from chats.masking.services import values_of
from chats.models import ChatLog, Conversation
from chats.openai_api import completions
from chats.querysets import conversation_of
from chats.webhooks import services as webhooks
from mia.lib import rows
from miners.choices import JobKind, JobState
from miners.models import Job
from miners.signals import job_finished

FAILURE_NOTE: Final = "No answer could be produced; the visitor was offered a human."
CANCELLED_NOTE: Final = "The answer was cancelled."


def connect() -> None:
    job_finished.connect(on_job_finished, dispatch_uid="chats.on_job_finished")


def on_job_finished(sender: object, *, job: Job, now: datetime, **_: Any) -> None:
    """Keeps the answer, once per job whatever happens, or a note that there is none: never words that nobody wrote."""
    if job.kind == JobKind.API and job.state == JobState.COMPLETED:
        completions.check_answer(job, now)
    if job.kind != JobKind.CHAT or job.business_id is None:
        return
    conversation = conversation_of(job.business_id, job.topic)
    if conversation is None:
        return
    if job.state == JobState.COMPLETED:
        _keep_answer(conversation, job, now)
    else:
        _keep_note(conversation, job, now)


def _keep_answer(conversation: Conversation, job: Job, now: datetime) -> None:
    answers.check_answer(conversation, job, now)
    citations = check_answer(conversation, job, now)
    answer = _answer(conversation, job, citations, now)
    if _keep(answer):
        webhooks.tell_of_message(conversation, answer)
        outbox.queue(conversation, answer, now=now)
    conversation.touch(answer.message or conversation.snippet, now)
    rows.update(conversation, "snippet", "last_message_at")


def _answer(conversation: Conversation, job: Job, citations: list[object], now: datetime) -> ChatLog:
    """The answer as its visitor reads it; the job keeps it as its miner wrote it."""
    values = values_of(job, conversation.pk)
    return ChatLog(
        business_id=conversation.business_id,
        conversation=conversation,
        role=Role.ASSISTANT,
        message=restore(job.output, values),
        timestamp=now,
        job=job,
        prompt_tokens=job.prompt_tokens,
        tokens_generated=job.tokens_generated,
        latency_ms=max(0, int((now - job.created_at).total_seconds() * 1000)),
        citations=citations,
        tool_calls=restore_calls(job.tool_calls or [], values),
    )


def _keep_note(conversation: Conversation, job: Job, now: datetime) -> None:
    was_cancelled = job.state == JobState.CANCELLED
    words = CANCELLED_NOTE if was_cancelled else FAILURE_NOTE
    _keep(
        ChatLog(
            business_id=conversation.business_id,
            conversation=conversation,
            role=Role.SYSTEM,
            message=words,
            timestamp=now,
            job=job,
        )
    )
    if was_cancelled:
        return
    ownership.hold(conversation)
    if conversation.owner == Owner.AI:
        conversation.handoff_reason = HandoffReason.FAILURE
        with ownership.recorded(conversation, now=now, reason=HandoffReason.FAILURE):
            if conversation.channel != ChannelKind.WIDGET:
                _leave_to_people(conversation, now)
        conversation.save(update_fields=["handoff_reason", "handoff_requested_at", "status"])


def _leave_to_people(conversation: Conversation, now: datetime) -> None:
    """The offer of a human that the widget makes reaches no mailbox: a person takes it up, and the visitor is told."""
    conversation.status, conversation.handoff_requested_at = Status.WAITING, now
    outbox.apologise(conversation, now=now)


def _keep(log: ChatLog) -> bool:
    """The database lets in one per job and role; a second is dropped."""
    rows.insert(log, on_conflict="DO NOTHING")
    return log.pk is not None
