"""What the dispatcher sees to: nothing waits for ever, and nothing stays by mistake."""

from __future__ import annotations

import logging
from collections import defaultdict
from datetime import datetime
from typing import Final

from knowledge import cleaning, runs, sources, uploads
from knowledge.choices import TrainingKind, TrainingStatus
from knowledge.limits import MAX_TRAINING_ATTEMPTS
from knowledge.models import Source, TrainingJob
from knowledge.runs import STALE, UNTAKEN

logger = logging.getLogger(__name__)

AT_ONCE: Final = 200
DIED: Final = "The training was interrupted again and again. Try it once more; if it fails again, tell us."


def revive_trainings(*, now: datetime) -> None:
    """Gives jobs that nobody works on to the queue again, and gives up those that have cost several workers."""
    jobs = TrainingJob.objects.abandoned(now, now - STALE).order_by("due_at")[:AT_ONCE]
    for job in jobs:
        if job.status == TrainingStatus.PROCESSING and job.attempts >= MAX_TRAINING_ATTEMPTS:
            runs.fail_job(TrainingJob.objects.filter(pk=job.pk), DIED, now=now)
            continue
        TrainingJob.objects.filter(pk=job.pk, status=TrainingStatus.QUEUED).update(due_at=now + UNTAKEN)
        sources.enqueue(job)


def queue_due_refreshes(*, now: datetime) -> None:
    """Looks again at what is due, one job per bot."""
    by_bot: dict[tuple[int, int | None], list[Source]] = defaultdict(list)
    for source in Source.objects.due_for_refresh(now).order_by("next_refresh_at")[:AT_ONCE]:
        by_bot[(source.business_id, source.bot_id)].append(source)
    for due in by_bot.values():
        sources.train(sources=due, kind=TrainingKind.REFRESH, requested_by="schedule", now=now)


def give_up_uploads(*, now: datetime) -> None:
    uploads.give_up(now=now)


def forget_the_departed(*, now: datetime) -> None:
    """Removes what belongs to businesses that were deleted, and the records of trainings long past."""
    cleaning.forget_old_trainings(now=now)
    for business_id in cleaning.departed_businesses():
        cleaning.forget_business(business_id=business_id)
        logger.info("Forgot what departed business %s had taught, at %s", business_id, now)
