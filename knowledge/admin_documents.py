"""Documents, chunks and training jobs in the admin: read here, made by training only."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db import models
from django.db.models import Count
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.scoped_admin import TenantModelAdmin, column
from knowledge.admin_names import NamedRowsMixin
from knowledge.models import Chunk, Document, TrainingJob
from mia.lib import phrases

CHUNKS_SHOWN: Final = 200


class ReadOnlyAdmin(NamedRowsMixin, TenantModelAdmin[Any]):
    """Rows that training makes."""

    business_path = "business_id"
    add_right = change_right = delete_right = None


def source_link(row: Any) -> SafeString:
    address = reverse("admin:knowledge_source_change", args=[row.source_id])
    return format_html('<a class="mia-link" href="{}">{}</a>', address, row.source)


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """Pages, files and texts, with the words that the bot has of them."""

    list_display = ["name", "from_source", "business", "state", "language", "chunk_count", "facts", "error"]
    list_filter = [("status", ChoicesDropdownFilter), "language", ("facts_at", RangeDateTimeFilter)]
    list_select_related = ["source"]
    search_fields = ["title", "url"]
    ordering = ["source_id", "pk"]
    fields = ["name", "from_source", "status", "address", "error", "language", "facts_at", "fetched_at", "words"]
    readonly_fields = ["name", "from_source", "address", "words"]
    empty_hint = _("The pages and files of your sources appear here once they are read.")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        rows: models.QuerySet[Any] = super().get_queryset(request).annotate(chunk_number=Count("chunks"))
        return rows

    @column(description=_("document"), ordering="title")
    def name(self, document: Document) -> SafeString:
        return format_html('<span class="mia-clip">{}</span>', str(document))

    @column(description=_("source"), ordering="source__title")
    def from_source(self, document: Document) -> SafeString:
        return source_link(document)

    @column(
        description=_("status"),
        ordering="status",
        label={"found": "default", "stored": "info", "trained": "success", "skipped": "warning", "failed": "danger"},
    )
    def state(self, document: Document) -> tuple[str, str]:
        return document.status, str(document.get_status_display())

    @column(description=_("chunks"), ordering="chunk_number")
    def chunk_count(self, document: Document) -> int:
        return int(getattr(document, "chunk_number", 0))

    @column(description=_("facts of"), ordering="facts_at")
    def facts(self, document: Document) -> str:
        return phrases.ago(document.facts_at, timezone.now()) if document.facts_at else phrases.NOTHING

    @column(description=_("address"))
    def address(self, document: Document) -> SafeString | str:
        if not document.url:
            return phrases.NOTHING
        return format_html(
            '<a class="mia-link" href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>', document.url
        )

    @column(description=_("what the bot has of it"))
    def words(self, document: Document) -> SafeString | str:
        chunks = document.chunks.order_by("position")[:CHUNKS_SHOWN]
        shown = format_html_join(
            "",
            '<section class="mia-card"><header><h2>{}</h2><span class="mia-end mia-soft mia-small">{}</span></header>'
            '<p class="mia-card-body mia-words">{}</p></section>',
            ((chunk.heading, _("%d tokens") % chunk.tokens, chunk.words) for chunk in chunks),
        )
        return format_html('<div class="mia-stack">{}</div>', shown) if shown else phrases.NOTHING


@admin.register(Chunk)
class ChunkAdmin(ReadOnlyAdmin):
    """Slices of documents, as they are searched."""

    list_display = ["slice", "heading_shown", "from_source", "whom", "business", "language", "tokens", "curated"]
    list_filter = ["language", "curated"]
    list_select_related = ["source", "document"]
    search_fields = ["words", "heading"]
    ordering = ["document_id", "position"]
    fields = ["from_source", "heading", "shown_words", "section_words", "language", "tokens", "curated"]
    readonly_fields = ["from_source", "shown_words", "section_words"]
    show_full_result_count = False
    empty_hint = _("What your bot can quote appears here once a source is trained.")

    @column(description=_("words"))
    def slice(self, chunk: Chunk) -> SafeString:
        return format_html('<span class="mia-clip">{}</span>', " ".join(chunk.words.split())[:120])

    @column(description=_("headings"))
    def heading_shown(self, chunk: Chunk) -> SafeString:
        return format_html('<span class="mia-clip">{}</span>', chunk.heading)

    @column(description=_("source"), ordering="source__title")
    def from_source(self, chunk: Chunk) -> SafeString:
        return source_link(chunk)

    @column(description=_("words"))
    def shown_words(self, chunk: Chunk) -> SafeString:
        return format_html('<p class="mia-words">{}</p>', chunk.words)

    @column(description=_("the section around it"))
    def section_words(self, chunk: Chunk) -> SafeString:
        return format_html('<p class="mia-words">{}</p>', chunk.section.text)


@admin.register(TrainingJob)
class TrainingJobAdmin(ReadOnlyAdmin):
    """Trainings: what was asked for, how far it is, and what it came to."""

    list_display = [
        "created_at", "kind", "whom", "business", "state", "stage", "source_count", "chunks_embedded", "took", "error",
    ]  # fmt: skip
    list_filter = [("status", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter)]
    search_fields = ["requested_by", "error"]
    ordering = ["-created_at"]
    fields = [
        "kind", "whom", "status", "stage", "source_count", "failed_sources", "chunks_embedded", "attempts",
        "requested_by", "created_at", "started_at", "seen_at", "finished_at", "took", "error",
    ]  # fmt: skip
    readonly_fields = ["whom", "source_count", "took"]
    empty_hint = _("Every training is listed here, from the moment it is asked for.")

    @column(
        description=_("status"),
        ordering="status",
        label={
            "queued": "default",
            "processing": "info",
            "completed": "success",
            "cleanup_completed": "success",
            "partially_completed": "warning",
            "failed": "danger",
        },
    )
    def state(self, job: TrainingJob) -> tuple[str, str]:
        return job.status, str(job.get_status_display())

    @column(description=_("sources"))
    def source_count(self, job: TrainingJob) -> int:
        return len(job.source_ids)

    @column(description=_("took"))
    def took(self, job: TrainingJob) -> str:
        if job.started_at is None:
            return phrases.NOTHING
        return phrases.span((job.finished_at or timezone.now()) - job.started_at)
