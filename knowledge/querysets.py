"""Which rows of the knowledge tables."""

from __future__ import annotations

from datetime import datetime
from typing import Self
from uuid import UUID

from django.db import models
from django.db.models import Q

from accounts.tenancy import TenantQuerySet
from knowledge.choices import IN_TRAINING, LIVE_TRAINING, TRAINABLE, FileStatus, SourceStatus, TrainingStatus


class SourceQuerySet(TenantQuerySet):
    """Sources."""

    def for_bot(self, bot_id: int | None) -> Self:
        """Those that a bot learns from: its own and those of every bot."""
        return self.filter(Q(bot_id=bot_id) | Q(bot_id=None))

    def trainable(self) -> Self:
        return self.filter(status__in=TRAINABLE)

    def due_for_refresh(self, now: datetime) -> Self:
        return self.filter(next_refresh_at__lte=now).exclude(status__in=[*IN_TRAINING, SourceStatus.PENDING])


class DocumentQuerySet(TenantQuerySet):
    """Documents."""

    def unchecked_by(self, job_id: UUID) -> Self:
        return self.exclude(checked_in=job_id)


class UploadedFileQuerySet(TenantQuerySet):
    """Uploaded files."""

    def given_up(self, now: datetime) -> Self:
        """Announced, and never finished in time."""
        return self.filter(status=FileStatus.PENDING, expires_at__lt=now)


class ForgottenFileQuerySet(TenantQuerySet):
    """Files to be removed."""


class SectionQuerySet(TenantQuerySet):
    """Sections."""


class ChunkQuerySet(TenantQuerySet):
    """Chunks."""


class EmbeddingVersionQuerySet(TenantQuerySet):
    """Embedding versions."""


class EmbeddingQuerySet(TenantQuerySet):
    """Embeddings."""


class PostingQuerySet(TenantQuerySet):
    """Postings."""


class TrainingJobQuerySet(TenantQuerySet):
    """Training jobs."""

    def live(self) -> Self:
        return self.filter(status__in=LIVE_TRAINING)

    def running(self, seen_since: datetime) -> Self:
        return self.filter(status=TrainingStatus.PROCESSING, seen_at__gte=seen_since)

    def abandoned(self, now: datetime, seen_before: datetime) -> Self:
        """Those that no worker has taken when it was time, or whose worker has gone silent."""
        waiting = Q(status=TrainingStatus.QUEUED, due_at__lte=now)
        return self.filter(waiting | Q(status=TrainingStatus.PROCESSING, seen_at__lt=seen_before))


class ModelConfigVersionQuerySet(TenantQuerySet):
    """Answer settings."""


class RetrievalLogQuerySet(TenantQuerySet):
    """Answer receipts."""


class CuratedAnswerQuerySet(TenantQuerySet):
    """Curated answers."""


class QuestionClusterQuerySet(TenantQuerySet):
    """Missing answers."""


class UnansweredQuestionQuerySet(TenantQuerySet):
    """Unanswered questions."""


class TestSetQuerySet(TenantQuerySet):
    """Test sets."""


class TestCaseQuerySet(TenantQuerySet):
    """Test questions."""


class TestRunQuerySet(TenantQuerySet):
    """Test runs."""


class SourceManager(models.Manager.from_queryset(SourceQuerySet)):  # type: ignore[misc]
    """The manager of sources."""


class DocumentManager(models.Manager.from_queryset(DocumentQuerySet)):  # type: ignore[misc]
    """The manager of documents."""


class UploadedFileManager(models.Manager.from_queryset(UploadedFileQuerySet)):  # type: ignore[misc]
    """The manager of uploaded files."""


class ForgottenFileManager(models.Manager.from_queryset(ForgottenFileQuerySet)):  # type: ignore[misc]
    """The manager of files to be removed."""


class SectionManager(models.Manager.from_queryset(SectionQuerySet)):  # type: ignore[misc]
    """The manager of sections."""


class ChunkManager(models.Manager.from_queryset(ChunkQuerySet)):  # type: ignore[misc]
    """The manager of chunks."""


class EmbeddingVersionManager(models.Manager.from_queryset(EmbeddingVersionQuerySet)):  # type: ignore[misc]
    """The manager of embedding versions."""


class EmbeddingManager(models.Manager.from_queryset(EmbeddingQuerySet)):  # type: ignore[misc]
    """The manager of embeddings."""


class PostingManager(models.Manager.from_queryset(PostingQuerySet)):  # type: ignore[misc]
    """The manager of postings."""


class TrainingJobManager(models.Manager.from_queryset(TrainingJobQuerySet)):  # type: ignore[misc]
    """The manager of training jobs."""


class ModelConfigVersionManager(models.Manager.from_queryset(ModelConfigVersionQuerySet)):  # type: ignore[misc]
    """The manager of answer settings."""


class RetrievalLogManager(models.Manager.from_queryset(RetrievalLogQuerySet)):  # type: ignore[misc]
    """The manager of answer receipts."""


class CuratedAnswerManager(models.Manager.from_queryset(CuratedAnswerQuerySet)):  # type: ignore[misc]
    """The manager of curated answers."""


class QuestionClusterManager(models.Manager.from_queryset(QuestionClusterQuerySet)):  # type: ignore[misc]
    """The manager of missing answers."""


class UnansweredQuestionManager(models.Manager.from_queryset(UnansweredQuestionQuerySet)):  # type: ignore[misc]
    """The manager of unanswered questions."""


class TestSetManager(models.Manager.from_queryset(TestSetQuerySet)):  # type: ignore[misc]
    """The manager of test sets."""


class TestCaseManager(models.Manager.from_queryset(TestCaseQuerySet)):  # type: ignore[misc]
    """The manager of test questions."""


class TestRunManager(models.Manager.from_queryset(TestRunQuerySet)):  # type: ignore[misc]
    """The manager of test runs."""
