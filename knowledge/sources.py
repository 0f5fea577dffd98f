"""Adding, training and deleting sources: what is committed at once, before any worker begins."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db import IntegrityError, transaction

from knowledge import databases, runs, tasks
from knowledge.bots import is_bot_of
from knowledge.choices import IN_TRAINING, FileStatus, SourceKind, SourceStatus, TrainingKind, TrainingStatus
from knowledge.crawling import normalized
from knowledge.errors import AlreadyTaught, TooMuchTaught, TrainingInProgress
from knowledge.limits import MAX_SOURCES, MAX_STORED_BYTES
from knowledge.loaders import digest_of
from knowledge.models import Chunk, Embedding, ForgottenFile, Source, TrainingJob, UploadedFile
from knowledge.runs import UNTAKEN
from knowledge.snapshot import forget
from knowledge.storing import remove_rows
from mia.lib.errors import InvalidRequest, NotFound

TITLE_CHARS = 200


def check_new(source: Source) -> None:
    """Raises InvalidRequest, AlreadyTaught, TooMuchTaught for a source that may not be added; completes the row."""
    if not is_bot_of(source.bot_id, business_id=source.business_id):
        raise InvalidRequest({"bot_id": ["There is no such bot."]})
    if source.kind in {SourceKind.URL, SourceKind.SITEMAP}:
        address = normalized(source.location)
        if address is None:
            raise InvalidRequest({"location": ["Give an address that starts with https:// or http://."]})
        source.location = address
        source.content_hash = digest_of(address.encode())
    if source.kind == SourceKind.TEXT:
        if not source.text.strip():
            raise InvalidRequest({"text": ["Give some text."]})
        source.content_hash = digest_of(source.text.encode())
    source.title = " ".join((source.title or source.location).split())[:TITLE_CHARS]
    _check_room(source)


def _check_room(source: Source) -> None:
    present = Source.objects.for_business(source.business_id)
    if present.count() >= MAX_SOURCES:
        raise TooMuchTaught(f"A business has at most {MAX_SOURCES} sources. Delete some first.")
    twins = present.filter(bot_id=source.bot_id, kind=source.kind, content_hash=source.content_hash)
    if source.content_hash and twins.exclude(pk=source.pk).exists():
        raise AlreadyTaught


def has_twin(source: Source, *, bot_id: int | None) -> bool:
    """Whether another source teaches that bot the same."""
    twins = Source.objects.for_business(source.business_id).filter(bot_id=bot_id, kind=source.kind)
    return bool(source.content_hash) and twins.filter(content_hash=source.content_hash).exclude(pk=source.pk).exists()


def give_to_bot(source: Source, *, bot_id: int | None) -> None:
    """Has another bot know it, or every one; its words and vectors go along. Raises InvalidRequest."""
    if not is_bot_of(bot_id, business_id=source.business_id):
        raise InvalidRequest({"bot_id": ["There is no such bot."]})
    with transaction.atomic(using=databases.alias()):
        own = Chunk.objects.for_business(source.business_id).filter(source=source)
        Embedding.objects.for_business(source.business_id).filter(chunk__in=own).update(bot_id=bot_id)
        own.update(bot_id=bot_id)
        Source.objects.for_business(source.business_id).filter(pk=source.pk).update(bot_id=bot_id)
    source.bot_id = bot_id
    forget(source.business_id)


def check_changed_text(source: Source) -> None:
    """Keeps the fingerprint true. Raises AlreadyTaught when another source says the same."""
    source.content_hash = digest_of(source.text.encode())
    twins = Source.objects.for_business(source.business_id).filter(
        bot_id=source.bot_id, kind=source.kind, content_hash=source.content_hash
    )
    if twins.exclude(pk=source.pk).exists():
        raise AlreadyTaught
    source.save(update_fields=["content_hash"])


def save_new(source: Source) -> None:
    """Raises AlreadyTaught, also when somebody else adds the same at this moment."""
    try:
        with transaction.atomic(using=databases.alias()):
            source.save(force_insert=True)
    except IntegrityError as error:
        raise AlreadyTaught from error


def check_stored_bytes(*, business_id: int, more: int) -> None:
    sizes = UploadedFile.objects.for_business(business_id).exclude(status=FileStatus.UPLOAD_FAILED)
    if sum(sizes.values_list("size_bytes", flat=True)) + more > MAX_STORED_BYTES:
        raise TooMuchTaught(f"A business stores at most {MAX_STORED_BYTES // 1_000_000:,} MB of files.")


# --- Training


def train(*, sources: Sequence[Source], kind: TrainingKind, requested_by: str, now: datetime) -> TrainingJob | None:
    """Has sources of one bot trained: by a new job, or by the one that is under way. None when all are in training.

    Those that are being read at this moment are read once more when that is done, as they may have changed.
    """
    business_id, bot_id = sources[0].business_id, sources[0].bot_id
    chosen = Source.objects.for_business(business_id).filter(pk__in=[source.pk for source in sources])
    chosen.filter(status=SourceStatus.TRAINING).update(changed_in_training=True)
    waiting = chosen.exclude(status__in=[*IN_TRAINING, SourceStatus.PENDING, SourceStatus.UPLOAD_FAILED])
    ids = list(waiting.select_for_update().values_list("pk", flat=True))
    if not ids:
        return None
    job = _live_job(business_id, bot_id) or _new_job(business_id, bot_id, kind, requested_by, now)
    _give(job, ids)
    return job


def queue(*, business_id: int, bot_id: int | None, requested_by: str, now: datetime) -> TrainingJob | None:
    """A job for everything that a bot has still to learn; None when there is nothing. Raises TrainingInProgress."""
    if not is_bot_of(bot_id, business_id=business_id):
        raise NotFound
    if _live_job(business_id, bot_id) is not None:
        raise TrainingInProgress
    sources = Source.objects.for_business(business_id).for_bot(bot_id).trainable()
    ids = list(sources.select_for_update(skip_locked=True).values_list("pk", flat=True))
    if not ids:
        return None
    job = _new_job(business_id, bot_id, TrainingKind.TRAIN, requested_by, now)
    _give(job, ids)
    return job


def _live_job(business_id: int, bot_id: int | None) -> TrainingJob | None:
    jobs = TrainingJob.objects.for_business(business_id).live().filter(bot_id=bot_id)
    job: TrainingJob | None = jobs.exclude(kind=TrainingKind.CLEANUP).select_for_update().first()
    return job


def _new_job(business_id: int, bot_id: int | None, kind: TrainingKind, by: str, now: datetime) -> TrainingJob:
    """Raises TrainingInProgress when somebody else makes one at this moment: the database lets one live per bot."""
    job = TrainingJob(
        business_id=business_id, bot_id=bot_id, kind=kind, requested_by=by[:255], created_at=now, due_at=now + UNTAKEN
    )
    try:
        with transaction.atomic(using=databases.alias()):
            job.save(force_insert=True)
    except IntegrityError as error:
        raise TrainingInProgress from error
    enqueue(job)
    return job


def _give(job: TrainingJob, source_ids: list[UUID]) -> None:
    """One that joins a job again, after it was done with it, is done once more."""
    job.source_ids = list(dict.fromkeys([*job.source_ids, *source_ids]))
    job.finished_source_ids = [done for done in job.finished_source_ids if done not in source_ids]
    job.save(update_fields=["source_ids", "finished_source_ids"])
    runs.forget_checks(source_ids, job.pk)
    sources = Source.objects.filter(pk__in=source_ids)
    sources.update(status=SourceStatus.QUEUED, error="", progress_done=0, progress_total=0)


def enqueue(job: TrainingJob) -> None:
    if job.kind == TrainingKind.CLEANUP:
        tasks.clean_up.enqueue(business_id=job.business_id, training_job_id=str(job.pk), queue="training")
    else:
        runs.enqueue(business_id=job.business_id, job_id=job.pk)


# --- Deleting


def delete(*, business_id: int, source_id: UUID, requested_by: str, now: datetime) -> TrainingJob:
    """Removes a source with its words and vectors, now; its file and the index's lists by the job that is given back.

    Raises NotFound. A training that is at it stops with this source, and goes on with the next.
    """
    source = Source.objects.for_business(business_id).select_for_update().filter(pk=source_id).first()
    if source is None:
        raise NotFound
    for key in UploadedFile.objects.filter(source=source).values_list("storage_key", flat=True):
        ForgottenFile.objects.create(business_id=business_id, storage_key=key, forgotten_at=now)
    remove_rows(Source.objects.filter(pk=source.pk))
    job: TrainingJob = TrainingJob.objects.create(
        business_id=business_id,
        bot_id=source.bot_id,
        kind=TrainingKind.CLEANUP,
        status=TrainingStatus.QUEUED,
        source_ids=[source_id],
        requested_by=requested_by[:255],
        created_at=now,
        due_at=now + UNTAKEN,
    )
    enqueue(job)
    return job
