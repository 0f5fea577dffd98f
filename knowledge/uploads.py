"""Files on their way in: announced, sent to the storage by whoever has them, looked at, and only then a source.

The seed's flow: init makes a source that waits and a ticket for its upload; finalise checks what arrived. Both may be
repeated: init of the same content gives the same source, finalise of a finished file says so.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import IO, Final
from uuid import UUID

from django.core.files.base import ContentFile

from knowledge import storage
from knowledge.choices import FileStatus, SourceKind, SourceStatus
from knowledge.errors import TooMuchTaught
from knowledge.limits import MAX_FILE_BYTES
from knowledge.loaders import digest_of
from knowledge.loaders.base import LoadError
from knowledge.loaders.detection import MEDIA_TYPES, Kind, kind_of
from knowledge.models import Source, UploadedFile
from knowledge.sources import check_new, check_stored_bytes, save_new
from mia.lib.errors import InvalidRequest, NotAuthenticated, NotFound, Unavailable

logger = logging.getLogger(__name__)

EXPIRES: Final = timedelta(hours=1)
NEVER_CAME: Final = "The upload never arrived. Start it again."
DIFFERS: Final = "What arrived is not the file that was announced: its size or fingerprint differs. Send it again."


@dataclass(frozen=True)
class Announced:
    """A file that somebody wants to send."""

    name: str
    size_bytes: int
    sha256: str


def announce(
    *, business_id: int, bot_id: int | None, files: Sequence[Announced], now: datetime
) -> list[tuple[UploadedFile, storage.Ticket | None]]:
    """A source for each file, and a ticket for its upload; none for a file that is here already.

    Raises InvalidRequest, TooMuchTaught.
    """
    check_stored_bytes(business_id=business_id, more=sum(file.size_bytes for file in files))
    return [_announce_one(business_id, bot_id, file, now) for file in files]


def _announce_one(
    business_id: int, bot_id: int | None, file: Announced, now: datetime
) -> tuple[UploadedFile, storage.Ticket | None]:
    known = UploadedFile.objects.for_business(business_id).filter(
        sha256=file.sha256, source__bot_id=bot_id, source__kind=SourceKind.FILE
    )
    row: UploadedFile | None = known.select_related("source").first()
    if row is None:
        row = _new_row(business_id, bot_id, file, now)
    elif row.status not in {FileStatus.PENDING, FileStatus.UPLOAD_FAILED}:
        return row, None
    row.status, row.error, row.expires_at, row.size_bytes = FileStatus.PENDING, "", now + EXPIRES, file.size_bytes
    row.save()
    Source.objects.filter(pk=row.source_id).update(status=SourceStatus.PENDING, error="")
    return row, storage.ticket_for(key=row.storage_key, file_id=row.pk, size_bytes=file.size_bytes)


def _new_row(business_id: int, bot_id: int | None, file: Announced, now: datetime) -> UploadedFile:
    name = " ".join(file.name.replace("/", " ").replace("\\", " ").split())[:255]
    source = Source(
        business_id=business_id,
        bot_id=bot_id,
        kind=SourceKind.FILE,
        title=name,
        status=SourceStatus.PENDING,
        content_hash=file.sha256,
        created_at=now,
    )
    check_new(source)
    save_new(source)
    row = UploadedFile(business_id=business_id, source=source, name=name, sha256=file.sha256, created_at=now)
    row.storage_key = storage.key_of(business_id=business_id, file_id=row.pk)
    return row


def receive(*, file_id: UUID, token: str, stream: IO[bytes], now: datetime) -> None:
    """Keeps the bytes of one file, where there is no bucket for them. Raises NotAuthenticated, NotFound.

    The token is the right to do so; the row is looked for in platform scope by the caller.
    """
    if not storage.is_ticket(token, file_id=file_id):
        raise NotAuthenticated
    file = UploadedFile.objects.filter(pk=file_id, status=FileStatus.PENDING).select_for_update().first()
    if file is None:
        raise NotFound
    content = stream.read(file.size_bytes + 1)
    if len(content) != file.size_bytes:
        raise InvalidRequest(f"{file.size_bytes} bytes were announced.")
    _put(file.storage_key, content)


def finalise(*, business_id: int, source_ids: Iterable[UUID], now: datetime) -> list[Source]:
    """Looks at what arrived and makes it ready for training, or says why not. Raises NotFound."""
    wanted = list(source_ids)
    sources = Source.objects.for_business(business_id).filter(pk__in=wanted, kind=SourceKind.FILE)
    rows = list(sources.select_for_update().order_by("pk"))
    if len(rows) != len(set(wanted)):
        raise NotFound
    for source in rows:
        file = UploadedFile.objects.filter(source=source).first()
        if file is not None and file.status in {FileStatus.PENDING, FileStatus.UPLOAD_FAILED}:
            _settle(source, file)
    return rows


def _settle(source: Source, file: UploadedFile) -> None:
    try:
        content = _arrived(file)
        file.content_type = MEDIA_TYPES[_readable(content, file.name)]
        file.status, file.error = FileStatus.UPLOADED, ""
        source.status, source.error = SourceStatus.CREATED, ""
    except LoadError as error:
        file.status = FileStatus.UPLOAD_FAILED
        source.status, source.error = SourceStatus.UPLOAD_FAILED, str(error)[:500]
        file.error = source.error
    file.save()
    source.save()


def _arrived(file: UploadedFile) -> bytes:
    try:
        with storage.files().open(file.storage_key) as opened:
            content = bytes(opened.read(MAX_FILE_BYTES + 1))
    except FileNotFoundError as error:
        raise LoadError(NEVER_CAME) from error
    except storage.ERRORS as error:
        raise Unavailable("The storage of files cannot be reached at the moment.") from error
    if len(content) != file.size_bytes or digest_of(content) != file.sha256:
        raise LoadError(DIFFERS)
    return content


def _readable(content: bytes, name: str) -> Kind:
    kind = kind_of(content, name=name)
    if kind is Kind.SITEMAP:
        raise LoadError("It is a sitemap. Add it as a website by its address.")
    return kind


def add(*, business_id: int, bot_id: int | None, name: str, content: bytes, now: datetime) -> Source:
    """A file that came with a form. Raises InvalidRequest, AlreadyTaught, TooMuchTaught."""
    if len(content) > MAX_FILE_BYTES:
        raise TooMuchTaught(f"A file has at most {MAX_FILE_BYTES // 1_000_000} MB.")
    try:
        kind = _readable(content, name)
    except LoadError as error:
        raise InvalidRequest({"file": [str(error)]}) from error
    check_stored_bytes(business_id=business_id, more=len(content))
    file = _new_row(business_id, bot_id, Announced(name, len(content), digest_of(content)), now)
    file.size_bytes, file.content_type, file.status = len(content), MEDIA_TYPES[kind], FileStatus.UPLOADED
    file.save(force_insert=True)
    _put(file.storage_key, content)
    source: Source = file.source
    source.status = SourceStatus.CREATED
    source.save(update_fields=["status"])
    return source


def _put(key: str, content: bytes) -> None:
    try:
        files = storage.files()
        files.delete(key)
        files.save(key, ContentFile(content))
    except storage.ERRORS as error:
        raise Unavailable("The storage of files cannot be reached at the moment.") from error


def give_up(*, now: datetime) -> None:
    """Ends uploads that never came; their sources say so and can be started again."""
    for file in UploadedFile.objects.given_up(now)[:200]:
        UploadedFile.objects.filter(pk=file.pk).update(status=FileStatus.UPLOAD_FAILED, error=NEVER_CAME)
        waiting = Source.objects.filter(pk=file.source_id, status=SourceStatus.PENDING)
        waiting.update(status=SourceStatus.UPLOAD_FAILED, error=NEVER_CAME)
        logger.info("The upload %s never arrived", file.pk)
