"""Jobs as they look at each point of their life, with the attempts that brought them there."""

from datetime import timedelta
from typing import Any

from django.utils import timezone

from accounts.models import Business
from accounts.tenancy import platform_scope
from miners.choices import LIVE_STATES, AttemptOutcome, ErrorCode, JobKind, JobState, Lane
from miners.models import Attempt, Job, Miner

_fences = iter(range(1_000_000, 9_000_000))
ENDINGS = {
    JobState.COMPLETED: AttemptOutcome.ACCEPTED,
    JobState.FAILED: AttemptOutcome.ERROR,
    JobState.CANCELLED: AttemptOutcome.CANCELLED,
    JobState.EXPIRED: AttemptOutcome.DEADLINE,
}
CODES = {
    JobState.FAILED: ErrorCode.ENGINE_ERROR,
    JobState.CANCELLED: ErrorCode.CANCELLED,
    JobState.EXPIRED: ErrorCode.DEADLINE,
}
QUESTION = "Where is my parcel?"
ANSWER = "It arrives tomorrow."
REASON = "CUDA out of memory on 10.1.2.3"


def make_life(
    state: JobState,
    *,
    miner: Miner | None = None,
    business: Business | None = None,
    failed_on: Miner | None = None,
    **fields: Any,
) -> Job:
    """A job in this state, run by a miner; `failed_on` names one that stalled on it before."""
    submitted = timezone.now() - timedelta(seconds=10)
    is_over = state not in LIVE_STATES
    with platform_scope():
        job = Job.objects.create(
            **{
                "business": business,
                "kind": JobKind.CHAT,
                "lane": Lane.CHAT,
                "state": state,
                "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": QUESTION}],
                "params": {"max_tokens": 100, "temperature": 0.3},
                "fence": next(_fences) if miner else None,
                "miner": miner,
                "attempt_count": 0 if miner is None else 1 + (failed_on is not None),
                "faults": int(failed_on is not None),
                "lease_until": None if is_over or miner is None else timezone.now() + timedelta(seconds=15),
                "deadline": submitted + timedelta(seconds=120),
                "output": ANSWER if state == JobState.COMPLETED else "",
                "tokens_generated": 8 if state == JobState.COMPLETED else 0,
                "error_code": CODES.get(state, ErrorCode.NONE),
                "error_message": REASON if state == JobState.FAILED else "",
                "created_at": submitted,
                "offered_at": submitted + timedelta(milliseconds=20) if miner else None,
                "started_at": submitted + timedelta(milliseconds=30) if miner else None,
                "first_token_at": submitted + timedelta(milliseconds=400) if state == JobState.COMPLETED else None,
                "finished_at": submitted + timedelta(seconds=2) if is_over else None,
                **fields,
            }
        )
        if failed_on is not None:
            _attempt(
                job, failed_on, 1, AttemptOutcome.STALLED, is_fault=True, is_blamed=True, reason="no chunk for 6 s"
            )
        if miner is not None:
            outcome = ENDINGS.get(state, AttemptOutcome.LIVE)
            reason = REASON if state == JobState.FAILED else ""
            _attempt(job, miner, job.attempt_count, outcome, fence=job.fence, reason=reason)
    return job


def _attempt(job: Job, miner: Miner, number: int, outcome: AttemptOutcome, **fields: Any) -> Attempt:
    offered = job.created_at + timedelta(milliseconds=20)
    return Attempt.objects.create(
        **{
            "fence": next(_fences),
            "job": job,
            "business": job.business,
            "miner": miner,
            "number": number,
            "outcome": outcome,
            "offered_at": offered,
            "acked_at": offered + timedelta(milliseconds=10),
            "ended_at": job.finished_at,
            **fields,
        }
    )
