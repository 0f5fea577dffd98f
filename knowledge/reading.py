"""Reads the documents of one source, a few at a time: fetched, opened or taken from the row, then loaded and cut."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from django.conf import settings
from django.core.files.storage import Storage

from knowledge import storage
from knowledge.choices import SourceKind
from knowledge.crawling import normalized, site_of
from knowledge.fetching import FetchError, Page, Visits
from knowledge.limits import CHUNKER_VERSION, MAX_FILE_BYTES
from knowledge.loaders import prepare_answer
from knowledge.loaders.base import LoadError
from knowledge.loaders.readers import readers_of_this_process
from knowledge.models import CuratedAnswer, Document, Source, UploadedFile
from knowledge.storing import Reading

VISITS_AT_ONCE: Final = 6


class Desk:
    """The processes, threads and manners with which one training reads."""

    def __init__(self, job_id: UUID) -> None:
        self.job_id = job_id
        self.visits = Visits()
        self._stack = ExitStack()
        self._readers = readers_of_this_process(settings.TRAINING_READERS)
        self._pool = self._stack.enter_context(ThreadPoolExecutor(VISITS_AT_ONCE, "visit"))
        self._files: Storage = storage.files()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._stack.close()

    def read(self, source: Source, documents: Sequence[Document]) -> Iterator[Reading]:
        """In the order of the documents. The threads know no database: what they need of it is fetched here first."""
        if source.kind == SourceKind.QA:
            return iter(self._answers(source, documents))
        if source.kind in {SourceKind.URL, SourceKind.SITEMAP}:
            return self._pool.map(lambda document: self._visit(source, document), documents)
        file = UploadedFile.objects.filter(source=source).first() if source.kind == SourceKind.FILE else None
        return self._pool.map(lambda document: self._open(source, document, file), documents)

    def _answers(self, source: Source, documents: Sequence[Document]) -> list[Reading]:
        answers = {f"qa:{answer.pk}": answer for answer in CuratedAnswer.objects.filter(source=source)}
        return [self._answer(document, answers.get(document.key)) for document in documents]

    def _answer(self, document: Document, answer: CuratedAnswer | None) -> Reading:
        if answer is None:
            return Reading(document, self.job_id, error="The answer was removed.", is_gone=True)
        prepared = prepare_answer(answer.question, answer.other_wordings, answer.answer, answer.language)
        return Reading(document, self.job_id, prepared, size_bytes=len(answer.answer.encode()))

    def _visit(self, source: Source, document: Document) -> Reading:
        known = bool(document.content_hash) and document.chunker_version == CHUNKER_VERSION
        etag, last_modified = (document.etag, document.last_modified) if known else ("", "")
        try:
            page = self.visits.get(document.key, etag=etag, last_modified=last_modified)
        except FetchError as error:
            return self._failed(document, str(error), is_gone=error.is_gone, is_temporary=not error.permanent)
        address = normalized(page.url) or document.key
        if source.kind == SourceKind.SITEMAP and site_of(address) != site_of(document.key):
            return Reading(document, self.job_id, error=f"It leads to another website, {address}.", is_skipped=True)
        if page.content is None:
            return Reading(document, self.job_id)
        return self._load_page(source, document, page, address)

    def _load_page(self, source: Source, document: Document, page: Page, address: str) -> Reading:
        content = page.content or b""
        try:
            prepared = self._readers.prepare(content, name=address, declared=page.media_type)
        except LoadError as error:
            return self._failed(document, str(error), is_skipped=source.kind == SourceKind.SITEMAP)
        if not prepared["may_index"]:
            return Reading(document, self.job_id, error="The page asks not to be indexed.", is_skipped=True)
        return Reading(
            document,
            self.job_id,
            prepared,
            url=address,
            etag=page.etag,
            last_modified=page.last_modified,
            size_bytes=len(content),
        )

    def _open(self, source: Source, document: Document, file: UploadedFile | None) -> Reading:
        try:
            content = self._content(file) if file is not None else source.text.encode()
            declared = "" if file is not None else "text/markdown"
            name = file.name if file is not None else source.title
            title = "" if file is not None else source.title
            prepared = self._readers.prepare(content, name=name, declared=declared, title=title)
        except LoadError as error:
            return self._failed(document, str(error))
        url = address_of(source, file)
        return Reading(document, self.job_id, prepared, url=url, size_bytes=len(content))

    def _content(self, file: UploadedFile) -> bytes:
        """Raises LoadError when the storage has no such file, or a larger one than was announced."""
        try:
            with self._files.open(file.storage_key) as opened:
                content = bytes(opened.read(MAX_FILE_BYTES + 1))
        except (FileNotFoundError, *storage.ERRORS) as error:
            raise LoadError("The uploaded file cannot be found in the storage.") from error
        if len(content) > MAX_FILE_BYTES:
            raise LoadError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB.")
        return content

    def _failed(
        self,
        document: Document,
        reason: str,
        *,
        is_gone: bool = False,
        is_temporary: bool = False,
        is_skipped: bool = False,
    ) -> Reading:
        return Reading(
            document, self.job_id, error=reason, is_gone=is_gone, is_temporary=is_temporary, is_skipped=is_skipped
        )


def address_of(source: Source, file: UploadedFile | None) -> str:
    """Where visitors may open what was uploaded: where its owner says, or in the bucket that is public."""
    return source.location or (storage.public_url(file.storage_key) if file is not None else "")
