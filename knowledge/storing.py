"""Keeps what was read of a document: the same words keep their chunks and vectors, gone ones lose theirs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from uuid import UUID

from django.db import models

from knowledge.choices import DocumentStatus, search_configuration
from knowledge.languages import detect
from knowledge.limits import CHUNKER_VERSION
from knowledge.loaders import PieceData, Prepared, SectionData
from knowledge.models import Chunk, Document, Section, Source

SAMPLE_CHARS = 2000
WRITTEN_AT_ONCE = 500


@dataclass(frozen=True)
class Reading:
    """What reading a document has come to.

    Without `prepared` there is nothing new: with an `error` because it could not be read (now, or at all), without one
    because it has not changed.
    """

    document: Document
    job_id: UUID
    prepared: Prepared | None = None
    error: str = ""
    is_skipped: bool = False
    is_gone: bool = False
    is_temporary: bool = False
    url: str = ""
    etag: str = ""
    last_modified: str = ""
    size_bytes: int = 0


def keep(reading: Reading, *, source: Source, curated: bool = False, now: datetime) -> bool:
    """Stores one reading in the current transaction; whether there are words that have to be embedded."""
    document = reading.document
    document.checked_in = reading.job_id
    if reading.prepared is None:
        return _keep_without_words(reading, now)
    _note_reading(document, reading, reading.prepared, now)
    if _says_the_same(document, reading.prepared):
        return _is_as_before(document)
    twin = _twin_of(document, reading.prepared) if not curated else None
    if twin is not None:
        return _leave_out(document, f"It says the same as {twin}.")
    _write(document, reading.prepared, source=source, curated=curated, now=now)
    return True


def _keep_without_words(reading: Reading, now: datetime) -> bool:
    document = reading.document
    if reading.is_skipped or reading.is_gone:
        return _leave_out(document, reading.error)
    if not reading.error:
        document.fetched_at = now
        return _is_as_before(document)
    # What was read earlier still answers, until the page says something else or is gone.
    if not (reading.is_temporary and document.content_hash):
        document.status = DocumentStatus.FAILED
    document.error = reading.error[:500]
    document.save()
    return False


def _is_as_before(document: Document) -> bool:
    document.error = ""
    if document.status == DocumentStatus.FAILED:
        document.status = DocumentStatus.STORED
    document.save()
    return document.status == DocumentStatus.STORED


def _leave_out(document: Document, reason: str) -> bool:
    document.sections.all().delete()
    document.status, document.error, document.content_hash = DocumentStatus.SKIPPED, reason[:500], ""
    document.etag = document.last_modified = ""
    document.save()
    return False


def _says_the_same(document: Document, prepared: Prepared) -> bool:
    return document.content_hash == prepared["content_hash"] and document.chunker_version == CHUNKER_VERSION


def _twin_of(document: Document, prepared: Prepared) -> Document | None:
    """Another page of the source with the very same words, which were read first."""
    others = Document.objects.filter(source_id=document.source_id, content_hash=prepared["content_hash"])
    twin: Document | None = others.exclude(pk=document.pk).order_by("pk").first()
    return twin


def _note_reading(document: Document, reading: Reading, prepared: Prepared, now: datetime) -> None:
    document.title = prepared["title"][:500]
    document.url = reading.url or document.url
    document.etag, document.last_modified = reading.etag, reading.last_modified
    document.size_bytes = reading.size_bytes
    document.fetched_at = now
    document.facts_at = dated(prepared["dated"], reading.last_modified, now)


def dated(written: str, last_modified: str, now: datetime) -> datetime:
    """When the words were true for the last time that anybody says; the present when nobody does, or says nonsense."""
    for text, parse in ((written, datetime.fromisoformat), (last_modified, parsedate_to_datetime)):
        try:
            moment = parse(text)
        except (ValueError, TypeError):
            continue
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        if now - timedelta(days=365 * 30) < moment < now:
            return moment
    return now


def _write(document: Document, prepared: Prepared, *, source: Source, curated: bool, now: datetime) -> None:
    """The order matters: sections first, as chunks hang on them; then chunks are moved or made; what is left goes."""
    words = " ".join(section["text"] for section in prepared["sections"])[:SAMPLE_CHARS]
    document.language = detect(words, likely=prepared["language"][:2].lower())
    sections = _keep_sections(document, prepared["sections"])
    _keep_chunks(document, prepared["pieces"], sections, source=source, curated=curated, now=now)
    document.sections.filter(position__gte=len(sections)).delete()
    document.content_hash, document.chunker_version = prepared["content_hash"], CHUNKER_VERSION
    document.status, document.error = DocumentStatus.STORED, ""
    document.save()


def _keep_sections(document: Document, wanted: Sequence[SectionData]) -> list[Section]:
    present = {section.position: section for section in document.sections.all()}
    kept: list[Section] = []
    changed: list[Section] = []
    for position, data in enumerate(wanted):
        section = present.get(position) or Section(
            business_id=document.business_id, document=document, position=position
        )
        if _differs(section, data) and section.pk is not None:
            changed.append(section)
        section.heading, section.anchor, section.text = data["heading"][:1000], data["anchor"], data["text"]
        kept.append(section)
    Section.objects.bulk_update(changed, ["heading", "anchor", "text"], batch_size=WRITTEN_AT_ONCE)
    Section.objects.bulk_create([section for section in kept if section.pk is None], batch_size=WRITTEN_AT_ONCE)
    return kept


def _differs(section: Section, data: SectionData) -> bool:
    return (section.heading, section.anchor, section.text) != (data["heading"][:1000], data["anchor"], data["text"])


def _keep_chunks(
    document: Document,
    pieces: Sequence[PieceData],
    sections: Sequence[Section],
    *,
    source: Source,
    curated: bool,
    now: datetime,
) -> None:
    spare: dict[str, list[Chunk]] = defaultdict(list)
    for chunk in document.chunks.order_by("-position"):
        spare[chunk.content_hash].append(chunk)
    moved: list[Chunk] = []
    made: list[Chunk] = []
    configuration = search_configuration(document.language)
    for position, piece in enumerate(pieces):
        waiting = spare[piece["content_hash"]]
        kept = waiting.pop() if waiting else None
        if kept is None:
            made.append(
                Chunk(
                    business_id=document.business_id,
                    source=source,
                    document=document,
                    section=sections[piece["section"]],
                    bot_id=source.bot_id,
                    position=position,
                    heading=piece["heading"],
                    words=piece["words"],
                    tokens=piece["tokens"],
                    language=document.language,
                    configuration=configuration,
                    curated=curated,
                    content_hash=piece["content_hash"],
                    created_at=now,
                )
            )
        elif (kept.position, kept.section_id) != (position, sections[piece["section"]].pk):
            kept.position, kept.section = position, sections[piece["section"]]
            moved.append(kept)
    remove_chunks(chunk.pk for chunks in spare.values() for chunk in chunks)
    Chunk.objects.bulk_update(moved, ["position", "section"], batch_size=WRITTEN_AT_ONCE)
    Chunk.objects.bulk_create(made, batch_size=WRITTEN_AT_ONCE)


def remove_chunks(chunk_ids: Iterable[int]) -> None:
    """Their vectors go with them, inside the database."""
    remove_rows(Chunk.objects.filter(pk__in=list(chunk_ids)))


def remove_rows(rows: models.QuerySet[models.Model]) -> None:
    """One DELETE; what hangs on the rows goes by the foreign keys of the database and is not fetched first."""
    rows._raw_delete(rows.db)
