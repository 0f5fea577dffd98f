"""What is kept when the network ends a job: one answer, or a note, in the same transaction."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.tenancy import platform_scope
from chats.choices import HandoffReason, Role, Status
from chats.models import ChatLog
from chats.tests.callers import Caller, conversation_of, job_of, logs_of
from miners.choices import JobKind, JobState
from miners.models import Job
from miners.signals import job_finished
from miners.tests.factories import make_job

pytestmark = pytest.mark.django_db


def end(reply: dict[str, Any], state: JobState, output: str = "", **fields: Any) -> None:
    """Ends the job as the network would, and tells."""
    now = timezone.now() + timedelta(seconds=2)
    with platform_scope():
        Job.objects.filter(pk=reply["job_id"]).update(state=state, output=output, finished_at=now, **fields)
        job_finished.send(sender=Job, job=Job.objects.get(pk=reply["job_id"]), attempt=None, now=now)


def roles(reply: dict[str, Any]) -> list[str]:
    return [log.role for log in logs_of(reply)]


def test_an_answer_is_kept_with_its_figures(visitor: Caller) -> None:
    reply = visitor.asked()
    end(reply, JobState.COMPLETED, "Thirty.", prompt_tokens=90, tokens_generated=3)
    log = logs_of(reply)[-1]
    assert (log.role, log.message, str(log.job_id)) == (Role.ASSISTANT, "Thirty.", reply["job_id"])
    assert (log.prompt_tokens, log.tokens_generated) == (90, 3)
    assert 1500 < log.latency_ms < 20_000
    assert conversation_of(reply).snippet == "Thirty."


def test_an_answer_is_kept_once_however_often_it_is_told(visitor: Caller) -> None:
    reply = visitor.asked()
    for words in ("Thirty.", "Thirty.", "Forty."):
        end(reply, JobState.COMPLETED, words)
    assert roles(reply) == [Role.USER, Role.ASSISTANT]
    assert logs_of(reply)[-1].message == "Thirty."


def test_the_database_refuses_a_second_answer_to_a_job(visitor: Caller) -> None:
    reply = visitor.asked()
    end(reply, JobState.COMPLETED, "Thirty.")
    kept = logs_of(reply)[-1]
    kept.pk = None
    with platform_scope(), pytest.raises(IntegrityError), transaction.atomic():
        kept.save(force_insert=True)


@pytest.mark.parametrize("state", [JobState.FAILED, JobState.EXPIRED])
def test_a_failure_leaves_a_note_and_no_answer(visitor: Caller, state: JobState) -> None:
    reply = visitor.asked()
    end(reply, state)
    assert roles(reply) == [Role.USER, Role.SYSTEM]
    conversation = conversation_of(reply)
    assert (conversation.handoff_reason, conversation.status) == (HandoffReason.FAILURE, Status.OPEN)


def test_a_note_is_no_part_of_the_next_prompt(visitor: Caller) -> None:
    end(visitor.asked("One?"), JobState.FAILED)
    job = job_of(visitor.asked("Two?"))
    assert [message["role"] for message in job.messages] == ["system", "user", "user"]


def test_jobs_that_belong_to_no_conversation_are_none_of_our_business(visitor: Caller) -> None:
    visitor.asked()
    before = ChatLog.objects.count()
    for fields in ({"kind": JobKind.IDLE}, {"kind": JobKind.CANARY}, {"topic": "conversation:nonsense"}, {"topic": ""}):
        end({"job_id": make_job(**fields).pk}, JobState.COMPLETED, "x")
    assert ChatLog.objects.count() == before


def test_an_answer_for_another_business_finds_no_conversation(visitor: Caller, stranger: Caller) -> None:
    reply, foreign = visitor.asked(), stranger.asked()
    with platform_scope():
        Job.objects.filter(pk=foreign["job_id"]).update(topic=conversation_of(reply).topic)
    end(foreign, JobState.COMPLETED, "Forged.")
    assert roles(reply) == [Role.USER]
