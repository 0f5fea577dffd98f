"""The way of sources into the index: find the documents, read them, embed what is new, remove what is gone.

Every step is committed as it is made, so a worker may die anywhere: the next one goes on with the documents that the
job has not checked and the words that have no vectors yet. A job is held by its fence; whoever lost it stops.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from django.utils import timezone

from accounts.tenancy import business_scope
from knowledge import indexing
from knowledge.choices import (
    FETCHED_KINDS,
    DocumentStatus,
    FileStatus,
    SourceKind,
    SourceStatus,
    TrainingStage,
)
from knowledge.crawling import listed_pages, normalized, pages_among, site_of
from knowledge.errors import EmbeddingError
from knowledge.fetching import FetchError
from knowledge.limits import MAX_DOCUMENTS, MAX_TRAINING_ATTEMPTS
from knowledge.models import Chunk, CuratedAnswer, Document, Source, UploadedFile
from knowledge.reading import Desk
from knowledge.runs import Run, SliceOver, Superseded, claim, forget_checks
from knowledge.storing import Reading, keep, remove_rows

logger = logging.getLogger(__name__)

READ_AT_ONCE: Final = 64
STORED_AT_ONCE: Final = 16
EMBEDDED_AT_ONCE: Final = 256
NO_WORDS: Final = "Nothing that could be read was found."


class SourceGone(Exception):
    """The source was deleted while it was trained."""


class SourceFailed(Exception):
    """The source cannot be trained; the message says why."""


def train(*, business_id: int, job_id: object) -> None:
    """Does what is left of a job, or a slice of it. Idempotent: a job that is over or in other hands is left alone."""
    run = claim(business_id=business_id, job_id=str(job_id), now=timezone.now())
    if run is None:
        return
    try:
        with run.pulse(), Desk(run.job_id) as desk:
            is_over = False
            while not is_over:
                while waiting := run.waiting_sources():
                    _train_source(run, desk, waiting[0])
                run.go_on(TrainingStage.TIDYING)
                indexing.finish_training(business_id=business_id, now=timezone.now())
                is_over = run.finish(now=timezone.now())
    except Superseded:
        logger.info("Training %s goes on elsewhere", run.job_id)
    except SliceOver:
        run.hand_on(now=timezone.now())
    except EmbeddingError as error:
        _put_back(run, error)


def _put_back(run: Run, error: EmbeddingError) -> None:
    """For a later try, or, when that would not help or helped too little, as failed."""
    reason = f"{error.detail}"
    if error.permanent or run.attempts >= MAX_TRAINING_ATTEMPTS:
        run.fail(reason, now=timezone.now())
    else:
        run.wait_and_retry(reason, now=timezone.now())


def _train_source(run: Run, desk: Desk, source_id: object) -> None:
    try:
        source = _begin(run, source_id)
        _find(run, desk, source)
        _read(run, desk, source)
        _embed(run, source)
        _settle(run, source)
    except SourceGone:
        run.note_finished(source_id)
    except (SourceFailed, FetchError) as error:
        _fail(run, source_id, str(error))


def _begin(run: Run, source_id: object) -> Source:
    with business_scope(run.business_id):
        source = _locked(run, source_id)
        source.status, source.error, source.changed_in_training = SourceStatus.TRAINING, "", False
        source.save(update_fields=["status", "error", "changed_in_training"])
    return source


def _locked(run: Run, source_id: object) -> Source:
    """The source, which nobody deletes until the transaction ends. Raises Superseded, SourceGone."""
    run.hold(now=timezone.now())
    rows = Source.objects.for_business(run.business_id).filter(pk=source_id)
    source: Source | None = rows.select_for_update().first()
    if source is None:
        raise SourceGone
    return source


# --- Finding


def _find(run: Run, desk: Desk, source: Source) -> None:
    """The documents to begin with, noted as found by this job, all or none; so a later slice need not look again."""
    run.go_on(TrainingStage.FINDING)
    with business_scope(run.business_id):
        if Document.objects.filter(source=source, found_in=run.job_id).exists():
            return
    keys = _listed(desk, source) if source.kind in FETCHED_KINDS else None
    with business_scope(run.business_id):
        source = _locked(run, source.pk)
        if keys is None:
            _expect(run, source, _own_keys(source), depth=0)
        else:
            _expect(run, source, keys, depth=0)
        _show_progress(run, source)


def _listed(desk: Desk, source: Source) -> list[str]:
    start = normalized(source.location)
    if start is None:
        raise SourceFailed("The address is not one of a page.")
    if source.kind == SourceKind.URL:
        return [start]
    pages = listed_pages(start, visits=desk.visits, limit=source.page_limit)
    if pages is None:
        return [start]
    if not pages:
        raise SourceFailed("The sitemap lists no page of this website.")
    return pages


def _own_keys(source: Source) -> list[str]:
    if source.kind == SourceKind.QA:
        return [f"qa:{pk}" for pk in CuratedAnswer.objects.filter(source=source).values_list("pk", flat=True)]
    return [str(source.kind)]


def _expect(run: Run, source: Source, keys: Iterable[str], *, depth: int) -> None:
    """Notes documents as found by this job, up to the limit of the source."""
    known = Document.objects.filter(source=source)
    room = _room(run, source) if source.kind in FETCHED_KINDS else None
    wanted = list(dict.fromkeys(keys))
    met = set(known.filter(found_in=run.job_id, key__in=wanted).values_list("key", flat=True))
    fresh = [key for key in wanted if key not in met][:room]
    known.filter(key__in=fresh).update(found_in=run.job_id, depth=depth)
    present = set(known.filter(key__in=fresh).values_list("key", flat=True))
    Document.objects.bulk_create(
        [
            Document(
                business_id=source.business_id,
                source=source,
                key=key,
                url=key if source.kind in FETCHED_KINDS else "",
                title=source.title if source.kind not in FETCHED_KINDS else "",
                depth=depth,
                found_in=run.job_id,
            )
            for key in fresh
            if key not in present
        ]
    )


def _room(run: Run, source: Source) -> int:
    """For how many more pages there is room, in the limit of the source and in that of the business."""
    in_source = source.page_limit - Document.objects.filter(source=source, found_in=run.job_id).count()
    others = Document.objects.for_business(source.business_id).exclude(source=source).count()
    return max(0, int(min(in_source, MAX_DOCUMENTS - others)))


# --- Reading


def _read(run: Run, desk: Desk, source: Source) -> None:
    run.go_on(TrainingStage.READING)
    follows = _follows_links(run, source)
    while batch := _unread(run, source):
        run.check_time()
        with business_scope(run.business_id):
            readings = desk.read(source, batch)
        while part := list(islice(readings, STORED_AT_ONCE)):
            _store(run, source, part, follows=follows)
            run.check_time()


def _follows_links(run: Run, source: Source) -> bool:
    """Whether a website is read from its start page on, because there is no sitemap where it starts.

    A page that has not changed is not sent again, nor are its links: so what was there last time is looked at anyway.
    """
    with business_scope(run.business_id):
        documents = Document.objects.filter(source=source)
        start = documents.filter(key=normalized(source.location) or "", found_in=run.job_id)
        if source.kind != SourceKind.SITEMAP or not start.exists():
            return False
        known = documents.order_by("depth", "pk").values_list("pk", flat=True)[: source.page_limit]
        documents.filter(pk__in=list(known)).update(found_in=run.job_id)
        return True


def _unread(run: Run, source: Source) -> list[Document]:
    with business_scope(run.business_id):
        documents = Document.objects.filter(source_id=source.pk, found_in=run.job_id)
        return list(documents.unchecked_by(run.job_id).order_by("depth", "pk")[:READ_AT_ONCE])


def _store(run: Run, source: Source, readings: list[Reading], *, follows: bool) -> None:
    now = timezone.now()
    with business_scope(run.business_id):
        locked = _locked(run, source.pk)
        for reading in readings:
            keep(reading, source=locked, curated=locked.kind == SourceKind.QA, now=now)
            if follows and reading.prepared is not None and reading.document.depth < locked.depth_limit:
                links = pages_among(reading.prepared["links"], site=site_of(locked.location))
                _expect(run, locked, links, depth=reading.document.depth + 1)
        _show_progress(run, locked)


def _show_progress(run: Run, source: Source) -> None:
    found = Document.objects.filter(source=source, found_in=run.job_id)
    source.progress_total = found.count()
    source.progress_done = source.progress_total - found.unchecked_by(run.job_id).count()
    source.save(update_fields=["progress_done", "progress_total"])


# --- Embedding


def _embed(run: Run, source: Source) -> None:
    """Words that have no vector yet, some documents at a time, which then count as trained."""
    run.go_on(TrainingStage.EMBEDDING)
    while documents := _stored(run, source):
        run.check_time()
        with business_scope(run.business_id):
            chunks = Chunk.objects.filter(document_id__in=documents).order_by("pk")
            chunk_ids = list(chunks.values_list("pk", flat=True))
        embedded = 0
        for part in _parts(chunk_ids):
            embedded += indexing.index_chunks(business_id=run.business_id, chunk_ids=part, now=timezone.now()).embedded
        now = timezone.now()
        with business_scope(run.business_id):
            _locked(run, source.pk)
            Document.objects.filter(pk__in=documents, status=DocumentStatus.STORED).update(
                status=DocumentStatus.TRAINED, trained_at=now
            )
            run.count_embedded(embedded)


def _stored(run: Run, source: Source) -> list[int]:
    with business_scope(run.business_id):
        documents = Document.objects.filter(source_id=source.pk, status=DocumentStatus.STORED)
        return list(documents.order_by("pk").values_list("pk", flat=True)[:READ_AT_ONCE])


def _parts(chunk_ids: list[int]) -> Iterator[list[int]]:
    for start in range(0, len(chunk_ids), EMBEDDED_AT_ONCE):
        yield chunk_ids[start : start + EMBEDDED_AT_ONCE]


# --- Settling


def _settle(run: Run, source: Source) -> None:
    """What this job has not met is gone from the source; the source is trained if anything of it is.

    One that was changed meanwhile stays with the job, which takes it up once more.
    """
    now = timezone.now()
    with business_scope(run.business_id):
        source = _locked(run, source.pk)
        if source.changed_in_training:
            forget_checks([source.pk], run.job_id)
            return
        documents = Document.objects.filter(source=source)
        remove_rows(documents.exclude(found_in=run.job_id))
        trained = documents.filter(status=DocumentStatus.TRAINED)
        reason = "" if trained.exists() else _first_reason(source)
        source.error = reason[:500]
        source.status = SourceStatus.FAILED if reason else SourceStatus.TRAINED
        source.trained_at = source.trained_at if reason else now
        source.note_look(now)
        source.save()
        _note_file(source, reason)
        run.note_finished(source.pk, failed=bool(reason))


def _fail(run: Run, source_id: object, reason: str) -> None:
    now = timezone.now()
    with business_scope(run.business_id):
        run.hold(now=now)
        source = Source.objects.filter(pk=source_id).first()
        if source is not None:
            source.error, source.status = reason[:500], SourceStatus.FAILED
            source.note_look(now)
            source.save()
            _note_file(source, reason)
        run.note_finished(source_id, failed=source is not None)


def _first_reason(source: Source) -> str:
    """Why no document of a source could be trained."""
    documents = Document.objects.filter(source=source).exclude(error="").order_by("depth", "pk")
    return str(documents.values_list("error", flat=True).first() or NO_WORDS)


def _note_file(source: Source, reason: str) -> None:
    status = FileStatus.FAILED if reason else FileStatus.PROCESSED
    UploadedFile.objects.filter(source=source).update(status=status, error=reason[:500])
