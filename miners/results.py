"""How a job ends, or starts again: accepted answers, faults, cancellation, deadlines. Each call is one transaction.

PostgreSQL's guarded statements decide; what else has to be true with the decision (the attempt's outcome, the miner's
figures, the chat log and the ledger, through `job_finished`) commits with it or not at all.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from psycopg.types.json import Jsonb

from accounts.tenancy import platform_scope
from mia.lib import rows
from mia.lib.errors import ChecksumMismatch, JobCancelled, JobExpired, LeaseLost, NotFound
from miners import fencing, limits, live, streams, trust
from miners.choices import AttemptOutcome, ErrorCode, JobState
from miners.exceptions import NotTheHolder
from miners.honesty import Claim, count, remark_on_digest
from miners.models import Attempt, Job, Miner
from miners.signals import job_finished

MAX_REASON_CHARS: Final = 500
MAX_REMARK_CHARS: Final = 300


@dataclass(frozen=True)
class Result:
    """What a miner hands in for one attempt; `fence` None is a miner of the first protocol."""

    job_id: UUID
    output: str
    tokens_generated: int = 0
    fence: int | None = None
    finish_reason: str = "stop"
    tool_calls: list[dict[str, Any]] | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    timing: Mapping[str, float] = field(default_factory=dict)
    output_sha256: str = ""
    model_digest: str = ""


@dataclass(frozen=True)
class Accepted:
    """The platform's word on a result."""

    job: Job
    duplicate: bool


def accept_result(*, miner: Miner, result: Result, now: datetime) -> Accepted:
    """Takes an answer if its attempt still holds the job, exactly once.

    Raises ChecksumMismatch before anything is written; LeaseLost, JobCancelled, JobExpired, NotTheHolder, NotFound.
    """
    if result.output_sha256 and hashlib.sha256(result.output.encode()).hexdigest() != result.output_sha256.lower():
        raise ChecksumMismatch
    with platform_scope():
        fence = _fence_of(miner, result.job_id, result.fence)
        job = _complete(miner, fence, result, now)
        if job is not None:
            announce_end(job, now)
            return Accepted(job, duplicate=False)
    return Accepted(_refuse(miner, fence, result.job_id), duplicate=True)


class Failure(StrEnum):
    """Why a miner hands in no answer."""

    ERROR = "error"
    REFUSED = "refused"
    GAVE_WAY = "gave_way"


def report_failure(
    *, miner: Miner, job_id: UUID, fence: int | None, reason: str, failure: Failure, now: datetime
) -> Job:
    """A miner's engine failed, or it declines the job, or gives an idle one back to make room for a customer's.

    A failure is a fault, and the job is over after three; a refused job goes to another miner; one that gave way may
    come back to the same. Raises as `accept_result` does.
    """
    with platform_scope():
        fence = _fence_of(miner, job_id, fence)
        text = streams.read_text(job_id)
        if failure == Failure.ERROR:
            ended = fault(
                job_id, fence, AttemptOutcome.ERROR, reason=reason, resume_text=text, now=now, reported_by=miner.pk
            )
        else:
            ended = _hand_back(miner, job_id, fence, text, reason, failure, now)
        if ended:
            return Job.objects.get(pk=job_id)
    return _refuse(miner, fence, job_id)


def fault(
    job_id: UUID,
    fence: int,
    outcome: AttemptOutcome,
    *,
    reason: str,
    resume_text: str,
    now: datetime,
    reported_by: int | None = None,
) -> bool:
    """Charges a fault to the job's present attempt and queues it for another miner, or ends it; False if it moved on.

    A fault that a miner reports counts only for its own attempt, and that attempt is then over for good.

    The miner is charged too, until the job has faulted on two miners: then the fault is the job's. Runs in platform
    scope.
    """
    with transaction.atomic():
        reason = reason[:MAX_REASON_CHARS]
        code = ErrorCode.ENGINE_ERROR if outcome == AttemptOutcome.ERROR else ErrorCode.LEASE_EXPIRED
        row = _execute_one(
            fencing.FAULT,
            {
                "job": job_id,
                "fence": fence,
                "reason": reason,
                "resume_text": resume_text,
                "most_faults": limits.FAULTS_BEFORE_FAILED,
                "error_code": code,
                "miner": reported_by,
            },
        )
        if row is None:
            return False
        _, state, miner_id = row
        is_poison = Attempt.objects.filter(job_id=job_id, is_fault=True).exclude(miner=miner_id).exists()
        end_attempt(fence, outcome, reason=reason, now=now, is_fault=True, is_blamed=not is_poison)
        _blame(job_id, fence, miner_id, is_poison=is_poison)
        if state == JobState.QUEUED:
            transaction.on_commit(live.wake_dispatch)
        else:
            announce_end(Job.objects.get(pk=job_id), now)
        return True


def end_unanswered(*, job: Job, state: JobState, code: ErrorCode, outcome: AttemptOutcome, now: datetime) -> bool:
    """Cancels or expires a live job; False if it had ended already. The miner hears of it with its next call."""
    with platform_scope():
        if _execute_one(fencing.END, {"job": job.pk, "state": state, "error_code": code}) is None:
            return False
        job.refresh_from_db()
        if job.fence is not None:
            end_attempt(job.fence, outcome, reason=code.label, now=now)
        announce_end(job, now)
    return True


def answer_instead(*, job: Job, output: str, finish_reason: str, now: datetime) -> bool:
    """Completes a live job with the platform's own words; False if it had ended. Its miner is charged nothing.

    The miner is told to stop with its next piece of text. Runs in platform scope.
    """
    parameters = {"job": job.pk, "output": output, "finish_reason": finish_reason}
    with transaction.atomic():
        if _execute_one(fencing.ANSWER_INSTEAD, parameters) is None:
            return False
        job.refresh_from_db()
        if job.fence is not None:
            end_attempt(job.fence, AttemptOutcome.CANCELLED, reason="stopped by the platform", now=now)
        announce_end(job, now)
    return True


def end_attempt(
    fence: int, outcome: AttemptOutcome, *, reason: str, now: datetime, is_fault: bool = False, is_blamed: bool = False
) -> None:
    Attempt.objects.filter(pk=fence, outcome=AttemptOutcome.LIVE).update(
        outcome=outcome, reason=reason[:MAX_REASON_CHARS], ended_at=now, is_fault=is_fault, is_blamed=is_blamed
    )


def announce_end(job: Job, now: datetime) -> None:
    """Inside the transaction: judge, settle and signal. After it: tell the streams."""
    trust.judge_canary(job, now=now)
    job_finished.send(sender=Job, job=job, now=now)
    transaction.on_commit(lambda: live.publish_end(job))


def _fence_of(miner: Miner, job_id: UUID, fence: int | None) -> int:
    if fence is not None:
        return fence
    job = Job.objects.filter(pk=job_id).values("fence", "miner_id").first()
    if job is None:
        raise NotFound("There is no such job.")
    if job["miner_id"] != miner.pk or job["fence"] is None:
        raise NotTheHolder
    return int(job["fence"])


def _complete(miner: Miner, fence: int, result: Result, now: datetime) -> Job | None:
    counted, remark = _judged(miner, fence, result, now)
    row = _execute_one(
        fencing.COMPLETE,
        {
            "job": result.job_id,
            "fence": fence,
            "miner": miner.pk,
            "output": result.output,
            "tool_calls": None if result.tool_calls is None else Jsonb(result.tool_calls),
            "finish_reason": result.finish_reason[:20],
            "prompt_tokens": min(int(result.usage.get("prompt_tokens", 0)), 10_000_000),
            "tokens": counted,
            "now": now,
            "reported": min(result.tokens_generated, 2**31 - 1),
            "timing": Jsonb(dict(result.timing)),
            "remark": remark,
            "digest": result.model_digest,
        },
    )
    return None if row is None else rows.load(Job, row)


def _judged(miner: Miner, fence: int, result: Result, now: datetime) -> tuple[int, str]:
    """The tokens that count, and what staff should know about what the miner said."""
    given = _execute_one(fencing.GIVEN, {"fence": fence, "miner": miner.pk})
    offered_at, model, served_models = given or (now, "", "[]")
    counted = count(
        Claim(
            output=result.output,
            tool_calls=result.tool_calls or [],
            reported=result.tokens_generated or int(result.usage.get("completion_tokens", 0)),
            taken_s=(now - offered_at).total_seconds(),
        )
    )
    remarks = [counted.remark, remark_on_digest(result.model_digest, json.loads(served_models), model)]
    return counted.tokens, "; ".join(filter(None, remarks))[:MAX_REMARK_CHARS]


def _refuse(miner: Miner, fence: int, job_id: UUID) -> Job:
    """The job as it was left by this very attempt, for a repeat; else raises what became of it."""
    with platform_scope():
        job = Job.objects.filter(pk=job_id).first()
        if job is None:
            raise NotFound("There is no such job.")
        was_held = Attempt.objects.filter(pk=fence, job_id=job_id, miner=miner).exists()
        if not was_held:
            trust.note_forgery(miner, job_known=Attempt.objects.filter(job_id=job_id, miner=miner).exists())
    if not was_held:
        raise NotTheHolder
    if job.fence != fence or job.miner_id != miner.pk:
        raise LeaseLost
    if job.state == JobState.COMPLETED:
        return job
    if job.state == JobState.CANCELLED:
        raise JobCancelled
    if job.state == JobState.EXPIRED:
        raise JobExpired
    raise LeaseLost


def _hand_back(
    miner: Miner, job_id: UUID, fence: int, resume_text: str, reason: str, failure: Failure, now: datetime
) -> bool:
    parameters = {
        "job": job_id,
        "fence": fence,
        "miner": miner.pk,
        "resume_text": resume_text,
        "gave_way": failure == Failure.GAVE_WAY,
        "most_returns": limits.RETURNS_TO_ONE_MINER,
    }
    if _execute_one(fencing.HAND_BACK, parameters) is None:
        return False
    outcome = AttemptOutcome.GAVE_WAY if failure == Failure.GAVE_WAY else AttemptOutcome.REFUSED
    Attempt.objects.filter(pk=fence).update(outcome=outcome, reason=reason[:MAX_REASON_CHARS], ended_at=now)
    transaction.on_commit(live.wake_dispatch)
    return True


def _blame(job_id: UUID, fence: int, miner_id: int | None, *, is_poison: bool) -> None:
    if not is_poison:
        Miner.objects.filter(pk=miner_id or 0).update(fault_count=F("fault_count") + 1)
        return
    exonerated = Attempt.objects.filter(job_id=job_id, is_blamed=True)
    Miner.objects.filter(pk__in=exonerated.values("miner"), fault_count__gt=0).update(fault_count=F("fault_count") - 1)
    exonerated.update(is_blamed=False)


def _execute_one(sql: str, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        row: tuple[Any, ...] | None = cursor.fetchone()
        return row
