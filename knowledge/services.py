"""The front door of knowledge for what is taught; what is asked comes in by `knowledge.answers`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import IO
from uuid import UUID

from django.db import IntegrityError, transaction

from knowledge import cleaning, databases, sources, uploads
from knowledge.bots import is_bot_of
from knowledge.choices import SourceKind, TrainingKind
from knowledge.errors import AlreadyTaught
from knowledge.models import CuratedAnswer, Document, Source, TrainingJob, UploadedFile
from knowledge.reading import address_of
from knowledge.storage import Ticket
from knowledge.uploads import Announced
from mia.lib.errors import InvalidRequest, NotFound

__all__ = ["Announced", "Ticket"]

ANSWERS_TITLE = "Questions and answers"
LISTED = 200


def add_source(*, source: Source, requested_by: str, now: datetime, train: bool = True) -> Source:
    """Adds a page, website, text or set of answers, and has it trained. Raises InvalidRequest, AlreadyTaught."""
    sources.check_new(source)
    source.created_at = now
    sources.save_new(source)
    if train:
        sources.train(sources=[source], kind=TrainingKind.TRAIN, requested_by=requested_by, now=now)
    return source


def add_file(
    *, business_id: int, bot_id: int | None, name: str, content: bytes, requested_by: str, now: datetime
) -> Source:
    source = uploads.add(business_id=business_id, bot_id=bot_id, name=name, content=content, now=now)
    sources.train(sources=[source], kind=TrainingKind.TRAIN, requested_by=requested_by, now=now)
    return source


def announce_files(
    *, business_id: int, bot_id: int | None, files: Sequence[Announced], now: datetime
) -> list[tuple[UploadedFile, Ticket | None]]:
    return uploads.announce(business_id=business_id, bot_id=bot_id, files=files, now=now)


def finalise_files(*, business_id: int, source_ids: Sequence[UUID], now: datetime) -> list[Source]:
    return uploads.finalise(business_id=business_id, source_ids=source_ids, now=now)


def queue_training(*, business_id: int, bot_id: int | None, requested_by: str, now: datetime) -> TrainingJob | None:
    """Trains what a bot has still to learn, as one job. Raises TrainingInProgress while one runs, NotFound."""
    return sources.queue(business_id=business_id, bot_id=bot_id, requested_by=requested_by, now=now)


def train_again(*, chosen: Sequence[Source], requested_by: str, now: datetime) -> int:
    """Looks at sources again, whatever their state; how many were taken."""
    taken = 0
    for group in _by_bot(chosen):
        job = sources.train(sources=group, kind=TrainingKind.REFRESH, requested_by=requested_by, now=now)
        taken += len(group) if job is not None else 0
    return taken


def give_to_bot(*, source: Source, bot_id: int | None) -> None:
    sources.give_to_bot(source, bot_id=bot_id)


def change_text(*, source: Source, requested_by: str, now: datetime) -> None:
    """After the words of a text were changed: they are trained anew. Raises AlreadyTaught."""
    sources.check_changed_text(source)
    sources.train(sources=[source], kind=TrainingKind.TRAIN, requested_by=requested_by, now=now)


def change_interval(*, source: Source, now: datetime) -> None:
    """After the interval of looking again was changed: counted from the last look."""
    checked_at = source.checked_at
    source.note_look(checked_at or now)
    source.checked_at = checked_at
    source.save(update_fields=["next_refresh_at"])


def change_address(*, source: Source) -> None:
    """After it was said where visitors find an uploaded file: answers cite it there from now on."""
    file = UploadedFile.objects.for_business(source.business_id).filter(source=source).first()
    documents = Document.objects.for_business(source.business_id).filter(source=source)
    documents.update(url=address_of(source, file))


def delete_source(*, business_id: int, source_id: UUID, requested_by: str, now: datetime) -> TrainingJob:
    return sources.delete(business_id=business_id, source_id=source_id, requested_by=requested_by, now=now)


def add_curated_answer(
    *,
    business_id: int,
    bot_id: int | None,
    question: str,
    answer: str,
    other_wordings: Sequence[str] = (),
    approved_by: str = "",
    now: datetime,
) -> CuratedAnswer:
    """Teaches one answer, in the set that the bot has for those, and has it trained at once. Raises AlreadyTaught."""
    source = _answers_of(business_id, bot_id, now)
    try:
        with transaction.atomic(using=databases.alias()):
            row: CuratedAnswer = CuratedAnswer.objects.create(
                business_id=business_id,
                source=source,
                question=question,
                answer=answer,
                other_wordings=list(other_wordings),
                approved_by_label=approved_by[:255],
                created_at=now,
            )
    except IntegrityError as error:
        raise AlreadyTaught("This question has an answer already. Change that one.") from error
    train_answers(source=source, requested_by=approved_by, now=now)
    return row


def train_answers(*, source: Source, requested_by: str, now: datetime) -> None:
    """After answers of a set were added, changed or removed."""
    sources.train(sources=[source], kind=TrainingKind.TRAIN, requested_by=requested_by, now=now)


def _answers_of(business_id: int, bot_id: int | None, now: datetime) -> Source:
    sets = Source.objects.for_business(business_id).filter(bot_id=bot_id, kind=SourceKind.QA)
    first: Source | None = sets.order_by("created_at").first()
    if first is not None:
        return first
    source = Source(business_id=business_id, bot_id=bot_id, kind=SourceKind.QA, title=ANSWERS_TITLE)
    return add_source(source=source, requested_by="", now=now, train=False)


def forget_bot(*, business_id: int, bot_id: int, requested_by: str, now: datetime) -> None:
    """When a bot is deleted: what only it was taught goes with it, and how it answered and was tested."""
    for source_id in Source.objects.for_business(business_id).filter(bot_id=bot_id).values_list("pk", flat=True):
        delete_source(business_id=business_id, source_id=source_id, requested_by=requested_by, now=now)
    cleaning.forget_bot(business_id=business_id, bot_id=bot_id)


def receive_file(*, file_id: UUID, ticket: str, stream: IO[bytes], now: datetime) -> None:
    uploads.receive(file_id=file_id, token=ticket, stream=stream, now=now)


def list_sources(*, business_id: int, bot_id: str | None) -> list[Source]:
    """The newest of a business, or of one bot of it. Raises InvalidRequest."""
    rows = Source.objects.for_business(business_id)
    if bot_id is not None:
        if not (bot_id.isascii() and bot_id.isdigit() and len(bot_id) <= 18):
            raise InvalidRequest({"bot_id": ["Must be a whole number."]})
        if not is_bot_of(int(bot_id), business_id=business_id):
            raise NotFound
        rows = rows.for_bot(int(bot_id))
    return list(rows[:LISTED])


def job_of(*, business_id: int, job_id: UUID) -> TrainingJob:
    job: TrainingJob | None = TrainingJob.objects.for_business(business_id).filter(pk=job_id).first()
    if job is None:
        raise NotFound
    return job


def _by_bot(chosen: Sequence[Source]) -> list[list[Source]]:
    groups: dict[tuple[int, int | None], list[Source]] = {}
    for source in chosen:
        groups.setdefault((source.business_id, source.bot_id), []).append(source)
    return list(groups.values())
