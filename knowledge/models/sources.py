"""What a bot is taught from: sources, the documents in them, and files on their way in."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import DetachedTenantModel
from knowledge import querysets
from knowledge.choices import FETCHED_KINDS, DocumentStatus, FileStatus, SourceKind, SourceStatus
from knowledge.limits import MAX_CRAWL_DEPTH, MAX_PAGES, MAX_TEXT_CHARS, MAX_URL_CHARS
from mia.lib.models import TimestampedModel


class Source(DetachedTenantModel, TimestampedModel):
    """Something that a bot is taught: a page, a website, a file, a text, or questions with their answers."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True, help_text=_("Empty: every bot of the business."))
    kind = models.CharField(_("kind"), max_length=8, choices=SourceKind.choices)
    title = models.CharField(_("title"), max_length=200)
    location = models.CharField(
        _("address"), max_length=MAX_URL_CHARS, blank=True, help_text=_("Of the page, the sitemap or the start page.")
    )
    text = models.TextField(_("text"), max_length=MAX_TEXT_CHARS, blank=True)
    status = models.CharField(
        _("status"), max_length=20, choices=SourceStatus.choices, default=SourceStatus.CREATED, db_index=False
    )
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    changed_in_training = models.BooleanField(
        default=False, editable=False, help_text="It was changed while it was trained, and has to be trained once more."
    )
    progress_done = models.PositiveIntegerField(_("done"), default=0, editable=False)
    progress_total = models.PositiveIntegerField(_("of"), default=0, editable=False)
    content_hash = models.CharField(_("fingerprint"), max_length=64, blank=True, editable=False)
    page_limit = models.PositiveIntegerField(
        _("pages at most"), default=200, validators=[MinValueValidator(1), MaxValueValidator(MAX_PAGES)]
    )
    depth_limit = models.PositiveSmallIntegerField(
        _("links deep"),
        default=5,
        validators=[MaxValueValidator(MAX_CRAWL_DEPTH)],
        help_text=_("How many links away from the start page; a sitemap needs none."),
    )
    refresh_hours = models.PositiveIntegerField(
        _("look again every"),
        default=0,
        validators=[MaxValueValidator(24 * 365)],
        help_text=_("Hours; 0: only when you ask for it."),
    )
    next_refresh_at = models.DateTimeField(_("next look"), null=True, blank=True, editable=False)
    checked_at = models.DateTimeField(_("last look"), null=True, blank=True, editable=False)
    trained_at = models.DateTimeField(_("trained"), null=True, blank=True, editable=False)

    objects = querysets.SourceManager()

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(name="source_kind_is_known", condition=Q(kind__in=SourceKind.values)),
            models.CheckConstraint(name="source_status_is_known", condition=Q(status__in=SourceStatus.values)),
            models.CheckConstraint(
                name="source_that_is_fetched_has_an_address",
                condition=~Q(kind__in=["url", "sitemap"]) | ~Q(location=""),
            ),
            models.UniqueConstraint(
                fields=["business_id", "bot_id", "kind", "content_hash"],
                condition=~Q(content_hash=""),
                nulls_distinct=False,
                name="source_is_taught_once_per_bot",
            ),
        ]
        indexes = [
            models.Index(fields=["business_id", "bot_id", "status"], name="source_of_a_bot_by_status"),
            models.Index(
                fields=["next_refresh_at"], condition=Q(next_refresh_at__isnull=False), name="source_by_next_refresh"
            ),
        ]

    def __str__(self) -> str:
        return self.title

    def note_look(self, now: datetime) -> None:
        """Notes in memory that it was looked at, and when that is due again; the caller saves."""
        self.checked_at = now
        again = self.refresh_hours and self.kind in FETCHED_KINDS
        self.next_refresh_at = now + timedelta(hours=self.refresh_hours) if again else None


class Document(DetachedTenantModel):
    """One page, file, text or answer of a source.

    `found_in` and `checked_in` name the training job that last met it: a job that was killed goes on with the documents
    it has not checked yet, and those that a finished job has not found are gone from the source.
    """

    source = models.ForeignKey(Source, on_delete=models.CASCADE, related_name="documents", verbose_name=_("source"))
    key = models.CharField(max_length=MAX_URL_CHARS, editable=False, help_text="What tells it apart within its source.")
    url = models.CharField(_("address"), max_length=MAX_URL_CHARS, blank=True)
    title = models.CharField(_("title"), max_length=500, blank=True)
    language = models.CharField(_("language"), max_length=16, blank=True)
    status = models.CharField(_("status"), max_length=8, choices=DocumentStatus.choices, default=DocumentStatus.FOUND)
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    depth = models.PositiveSmallIntegerField(default=0, editable=False)
    content_hash = models.CharField(_("fingerprint"), max_length=64, blank=True)
    chunker_version = models.CharField(max_length=32, blank=True, editable=False)
    etag = models.CharField(max_length=255, blank=True, editable=False)
    last_modified = models.CharField(max_length=64, blank=True, editable=False)
    size_bytes = models.PositiveBigIntegerField(_("size"), default=0)
    found_in = models.UUIDField(null=True, editable=False)
    checked_in = models.UUIDField(null=True, editable=False)
    fetched_at = models.DateTimeField(_("read"), null=True, blank=True)
    trained_at = models.DateTimeField(_("trained"), null=True, blank=True)
    facts_at = models.DateTimeField(
        _("facts of"), null=True, blank=True, help_text=_("When its words were known to be true last.")
    )
    created_at = models.DateTimeField(_("found"), default=timezone.now, editable=False)

    objects = querysets.DocumentManager()

    class Meta:
        ordering = ["source_id", "id"]
        constraints = [
            models.UniqueConstraint(fields=["business_id", "source", "key"], name="document_is_once_in_its_source"),
            models.CheckConstraint(name="document_status_is_known", condition=Q(status__in=DocumentStatus.values)),
        ]
        indexes = [models.Index(fields=["business_id", "facts_at"], name="document_by_oldest_fact")]

    def __str__(self) -> str:
        return self.title or self.url or self.key


class UploadedFile(DetachedTenantModel):
    """A file from the moment it is announced until its source is deleted; its bytes are in the storage."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    source = models.OneToOneField(Source, on_delete=models.CASCADE, related_name="file", verbose_name=_("source"))
    name = models.CharField(_("name"), max_length=255)
    storage_key = models.CharField(max_length=255, editable=False)
    size_bytes = models.PositiveBigIntegerField(_("size"), default=0)
    sha256 = models.CharField(_("fingerprint"), max_length=64, blank=True)
    content_type = models.CharField(_("type"), max_length=100, blank=True)
    status = models.CharField(_("status"), max_length=17, choices=FileStatus.choices, default=FileStatus.PENDING)
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    expires_at = models.DateTimeField(_("upload until"), null=True, blank=True)
    created_at = models.DateTimeField(_("announced"), default=timezone.now, editable=False)

    objects = querysets.UploadedFileManager()

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.CheckConstraint(name="file_status_is_known", condition=Q(status__in=FileStatus.values)),
        ]

    def __str__(self) -> str:
        return self.name


class ForgottenFile(DetachedTenantModel):
    """A key in the storage whose row is gone; kept until the bytes are gone too, however often the storage is away."""

    storage_key = models.CharField(max_length=255)
    forgotten_at = models.DateTimeField(default=timezone.now)

    objects = querysets.ForgottenFileManager()

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return self.storage_key
