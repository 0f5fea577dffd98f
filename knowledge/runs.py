"""Who works on a training job, and how far it has come: the job's row, changed only by whoever holds its fence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.db import connections
from django.db.models import F, Func, Q, UUIDField, Value
from django.db.models.functions import Cast
from django.utils import timezone

from accounts.tenancy import business_scope
from knowledge.choices import IN_TRAINING, SourceStatus, TrainingStage, TrainingStatus
from knowledge.limits import MAX_TRAININGS_AT_ONCE
from knowledge.models import Document, Source, TrainingJob
from knowledge.querysets import TrainingJobQuerySet

PULSE_S: Final = 10.0
STALE: Final = timedelta(seconds=60)
RETRY: Final = timedelta(seconds=30)
UNTAKEN: Final = timedelta(minutes=5)
"""After this time a job that no worker has taken is given to the queue once more: Redis may have been emptied."""


class Superseded(Exception):
    """Another worker has the job, or it is over."""


class SliceOver(Exception):
    """The worker's time with this job is up; somebody goes on with it later."""


@dataclass
class Run:
    """One worker's hold of one training job."""

    business_id: int
    job_id: UUID
    fence: int
    attempts: int
    until: float = field(default_factory=lambda: time.monotonic() + settings.TRAINING_SLICE_S)

    @property
    def row(self) -> TrainingJobQuerySet:
        """The job, while it is ours."""
        jobs: TrainingJobQuerySet = TrainingJob.objects.for_business(self.business_id)
        return jobs.filter(pk=self.job_id, fence=self.fence, status=TrainingStatus.PROCESSING)

    def hold(self, *, now: datetime) -> None:
        """Locks the job for the current transaction. Raises Superseded."""
        if not self.row.update(seen_at=now):
            raise Superseded

    def check_time(self) -> None:
        if time.monotonic() > self.until:
            raise SliceOver

    def go_on(self, stage: TrainingStage) -> None:
        with business_scope(self.business_id):
            if not self.row.update(stage=stage, seen_at=timezone.now()):
                raise Superseded

    def waiting_sources(self) -> list[UUID]:
        with business_scope(self.business_id):
            job = self.row.first()
        if job is None:
            raise Superseded
        return [source_id for source_id in job.source_ids if source_id not in job.finished_source_ids]

    def note_finished(self, source_id: object, *, failed: bool = False) -> None:
        uuid = Cast(Value(str(source_id)), UUIDField())
        finished = Func(F("finished_source_ids"), uuid, function="array_append")
        with business_scope(self.business_id):
            self.row.update(finished_source_ids=finished, failed_sources=F("failed_sources") + int(failed))

    def count_embedded(self, chunks: int) -> None:
        self.row.update(chunks_embedded=F("chunks_embedded") + chunks)

    def finish(self, *, now: datetime) -> bool:
        """Ends the job, unless sources have joined it meanwhile; whether it did. Raises Superseded."""
        with business_scope(self.business_id):
            job = self.row.select_for_update().first()
            if job is None:
                raise Superseded
            if set(job.source_ids) - set(job.finished_source_ids):
                return False
            self.row.update(status=outcome_of(job), stage=TrainingStage.DONE, finished_at=now, error="")
            return True

    def fail(self, reason: str, *, now: datetime) -> None:
        with business_scope(self.business_id):
            fail_job(self.row, reason, now=now)

    def wait_and_retry(self, reason: str, *, now: datetime) -> None:
        """Back to the queue; the dispatcher hands it to a worker when the wait is over."""
        with business_scope(self.business_id):
            later = now + RETRY * self.attempts
            self.row.update(status=TrainingStatus.QUEUED, error=reason[:500], due_at=later)

    def hand_on(self, *, now: datetime) -> None:
        """To the end of the queue at once; such a turn is no failed attempt."""
        with business_scope(self.business_id):
            again = now + UNTAKEN
            moved = self.row.update(status=TrainingStatus.QUEUED, due_at=again, attempts=F("attempts") - 1)
            if moved:
                enqueue(business_id=self.business_id, job_id=self.job_id)

    @contextmanager
    def pulse(self) -> Iterator[None]:
        """A sign of life every few seconds, also while one call takes long; a killed process gives none."""
        stopped = threading.Event()
        thread = threading.Thread(target=self._beat, args=(stopped,), daemon=True, name="pulse")
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def _beat(self, stopped: threading.Event) -> None:
        while not stopped.wait(PULSE_S):
            with business_scope(self.business_id):
                self.row.update(seen_at=timezone.now())
        connections.close_all()


def claim(*, business_id: int, job_id: str, now: datetime) -> Run | None:
    """Takes a job that waits, or whose worker has gone silent; None when there is nothing to take."""
    with business_scope(business_id):
        jobs = TrainingJob.objects.for_business(business_id)
        free = Q(status=TrainingStatus.QUEUED) | Q(status=TrainingStatus.PROCESSING, seen_at__lt=now - STALE)
        job = jobs.select_for_update(skip_locked=True).filter(free, pk=job_id).exclude(kind="cleanup").first()
        if job is None or jobs.running(now - STALE).exclude(pk=job.pk).count() >= MAX_TRAININGS_AT_ONCE:
            return None
        job.status, job.fence, job.attempts = TrainingStatus.PROCESSING, job.fence + 1, job.attempts + 1
        job.seen_at, job.started_at = now, job.started_at or now
        job.save(update_fields=["status", "fence", "attempts", "seen_at", "started_at"])
    return Run(business_id=business_id, job_id=job.pk, fence=job.fence, attempts=job.attempts)


def outcome_of(job: TrainingJob) -> TrainingStatus:
    if not job.failed_sources:
        return TrainingStatus.COMPLETED
    return TrainingStatus.FAILED if job.failed_sources >= len(job.source_ids) else TrainingStatus.PARTIAL


def fail_job(rows: TrainingJobQuerySet, reason: str, *, now: datetime) -> None:
    """Ends jobs as failed, and with them the sources that still wait for them, in the current scope."""
    for job in rows.select_for_update():
        waiting = set(job.source_ids) - set(job.finished_source_ids)
        sources = Source.objects.filter(pk__in=waiting, status__in=IN_TRAINING)
        sources.update(status=SourceStatus.FAILED, error=reason[:500])
        job.status, job.error, job.finished_at = TrainingStatus.FAILED, reason[:500], now
        job.failed_sources = len(job.source_ids) if not job.finished_source_ids else job.failed_sources + len(waiting)
        job.save(update_fields=["status", "error", "finished_at", "failed_sources"])


def forget_checks(source_ids: Sequence[UUID], job_id: UUID) -> None:
    """Has a job find and read the documents of these sources again, though it has done so before."""
    documents = Document.objects.filter(source_id__in=source_ids, found_in=job_id)
    documents.update(found_in=None, checked_in=None)


def enqueue(*, business_id: int, job_id: object) -> None:
    from knowledge.tasks import run_training

    run_training.enqueue(business_id=business_id, training_job_id=str(job_id), queue="training")
