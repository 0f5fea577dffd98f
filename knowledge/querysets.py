"""Which rows of the knowledge tables."""

from __future__ import annotations

from django.db import models

from accounts.tenancy import TenantQuerySet


class SourceQuerySet(TenantQuerySet):
    """Sources."""


class DocumentQuerySet(TenantQuerySet):
    """Documents."""


class UploadedFileQuerySet(TenantQuerySet):
    """Uploaded files."""


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
