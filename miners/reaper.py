"""What has run out: offers, leases, stalled answers, deadlines, silent miners. Any process may run it, at any time."""

import logging
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, transaction

from accounts.tenancy import platform_scope
from miners import limits, live, streams
from miners.choices import AttemptOutcome, ErrorCode, JobState, MinerStatus
from miners.models import Job, Miner
from miners.results import end_unanswered, fault

logger = logging.getLogger(__name__)

BATCH: Final = 200

EXPIRED_OFFERS: Final = """
WITH back AS (
    UPDATE miners_job SET state = 'queued', lease_until = NULL
    WHERE id IN (SELECT id FROM miners_job WHERE state = 'offered' AND lease_until < now()
                 ORDER BY lease_until LIMIT %(batch)s FOR UPDATE SKIP LOCKED)
    RETURNING fence
)
UPDATE miners_attempt a SET outcome = 'offer_expired', reason = 'not acknowledged in time', ended_at = now()
FROM back b WHERE a.fence = b.fence AND a.outcome = ''
RETURNING a.fence
"""

OVERDUE: Final = """
SELECT id, fence, lease_until < now() AS lease_ran_out FROM miners_job
WHERE state = 'running' AND (
    lease_until < now()
    OR (stream AND phase = 'decode' AND progress_at < now() - %(stall)s::interval)
    OR (stream AND phase = 'prefill'
        AND progress_at < now() - %(prefill_grace)s::interval - context_tokens * %(per_token)s::interval))
ORDER BY lease_until LIMIT %(batch)s
"""

STILL_OVERDUE: Final = f"""
SELECT 1 FROM ({OVERDUE.replace("ORDER BY lease_until LIMIT %(batch)s", "AND id = %(job)s AND fence = %(fence)s")}) o
"""  # noqa: S608 - constants

PARAMETERS: Final[dict[str, Any]] = {
    "batch": BATCH,
    "stall": limits.STALL,
    "prefill_grace": limits.PREFILL_GRACE,
    "per_token": f"{1 / limits.PREFILL_TOKENS_PER_SECOND} s",
}


def reap(*, now: datetime) -> int:
    """Everything that has run out, once; how many jobs moved."""
    return reap_unheard(now=now) + fault_overdue(now=now) + give_second_chances(now=now)


def reap_unheard(*, now: datetime) -> int:
    """What has run out whether or not the miners could make themselves heard; nobody is charged for it."""
    return return_offers() + expire_jobs(now=now)


def return_offers() -> int:
    """Offers that nobody acknowledged are queued again, without a fault."""
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(EXPIRED_OFFERS, PARAMETERS)
        returned: int = cursor.rowcount
        if returned:
            transaction.on_commit(live.wake_dispatch)
    return returned


def fault_overdue(*, now: datetime) -> int:
    """Jobs whose lease ran out or whose text stopped coming go on elsewhere, with what the visitor has seen."""
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(OVERDUE, PARAMETERS)
        overdue = cursor.fetchall()
    return sum(_fault_one(job_id, fence, lease_ran_out=ran_out, now=now) for job_id, fence, ran_out in overdue)


def _fault_one(job_id: UUID, fence: int, *, lease_ran_out: bool, now: datetime) -> bool:
    """Reads the stream before the lock, since Redis may be slow, and looks again under it."""
    resume_text = streams.read_text(job_id)
    outcome = AttemptOutcome.LEASE_EXPIRED if lease_ran_out else AttemptOutcome.STALLED
    with platform_scope(), connection.cursor() as cursor:
        locked = Job.objects.select_for_update(skip_locked=True).filter(pk=job_id, fence=fence).exists()
        cursor.execute(STILL_OVERDUE, {**PARAMETERS, "job": job_id, "fence": fence})
        if not locked or cursor.fetchone() is None:
            return False
        return fault(job_id, fence, outcome, reason=outcome.label, resume_text=resume_text, now=now)


def give_second_chances(*, now: datetime) -> int:
    """Jobs that every able miner has lost may go to those miners again: one that restarted is better than none."""
    with platform_scope():
        waiting = list(Job.objects.left_waiting(now - limits.SECOND_CHANCE)[:BATCH])
        alone = [job.pk for job in waiting if not _has_another(job, now)]
        given = Job.objects.queued().filter(pk__in=alone).update(tried=[])
        if given:
            transaction.on_commit(live.wake_dispatch)
    return given


def _has_another(job: Job, now: datetime) -> bool:
    return Miner.objects.able_to_serve(job, now).exclude(pk__in=job.tried).exists()


def expire_jobs(*, now: datetime) -> int:
    """Live jobs past their deadline end, wherever they are."""
    with platform_scope():
        late = list(Job.objects.live().filter(deadline__lte=now).order_by("deadline")[:BATCH])
    return sum(
        end_unanswered(
            job=job, state=JobState.EXPIRED, code=ErrorCode.DEADLINE, outcome=AttemptOutcome.DEADLINE, now=now
        )
        for job in late
    )


def mark_silent_miners(*, now: datetime) -> int:
    """Miners not heard of for twenty seconds are offline; their leases run out by themselves."""
    silent: Any = Miner.objects.silent(now).exclude(status=MinerStatus.OFFLINE)
    return int(silent.update(status=MinerStatus.OFFLINE, slots_free=0))
