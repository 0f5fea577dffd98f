"""Answers that need no miner: kept as a job that was over when it began, so that everybody reads them as any other."""

from datetime import datetime

from django.db import transaction

from accounts.tenancy import platform_scope
from mia.lib.rows import insert
from miners import results
from miners.choices import JobState
from miners.models import Job
from miners.services import JobRequest

FINISH_REASON = "stop"


def record_answer(*, business_id: int, request: JobRequest, output: str, now: datetime) -> Job:
    """Writes the completed job; `announce` tells of it once what it belongs to is written too. One statement."""
    job = Job(
        business_id=business_id,
        kind=request.kind,
        lane=request.lane,
        state=JobState.COMPLETED,
        messages=request.messages,
        stream=request.stream,
        model=request.model,
        topic=request.topic,
        min_trust=request.min_trust,
        max_tokens=request.max_tokens,
        output=output,
        finish_reason=FINISH_REASON,
        deadline=now + request.deadline,
        created_at=now,
        started_at=now,
        first_token_at=now,
        finished_at=now,
    )
    with platform_scope(), transaction.atomic():
        insert(job)
    return job


def announce(job: Job, *, now: datetime) -> None:
    """Inside the same transaction; receivers keep the answer, and streams hear of it after the commit."""
    with platform_scope():
        results.announce_end(job, now)
