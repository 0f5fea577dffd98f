"""The closed sets of knowledge."""

from typing import Final

from django.db import models
from django.utils.translation import gettext_lazy as _


class SourceKind(models.TextChoices):
    """Where the words of a source come from."""

    URL = "url", _("Page")
    SITEMAP = "sitemap", _("Website")
    FILE = "file", _("File")
    TEXT = "text", _("Text")
    QA = "qa", _("Questions and answers")


FETCHED_KINDS: Final = (SourceKind.URL, SourceKind.SITEMAP)


class SourceStatus(models.TextChoices):
    """Where a source is on its way into the bot's answers."""

    PENDING = "pending", _("Waiting for the upload")
    CREATED = "created", _("Not trained yet")
    UPLOAD_FAILED = "upload_failed", _("Upload failed")
    QUEUED = "queued_for_training", _("Waiting for training")
    TRAINING = "training", _("Training")
    TRAINED = "trained", _("Trained")
    FAILED = "training_failed", _("Training failed")


TRAINABLE: Final = (SourceStatus.CREATED, SourceStatus.FAILED)
IN_TRAINING: Final = (SourceStatus.QUEUED, SourceStatus.TRAINING)


class DocumentStatus(models.TextChoices):
    """How far one page or file has come."""

    FOUND = "found", _("Found")
    STORED = "stored", _("Read")
    TRAINED = "trained", _("Trained")
    SKIPPED = "skipped", _("Left out")
    FAILED = "failed", _("Failed")


class FileStatus(models.TextChoices):
    """What has become of an uploaded file."""

    PENDING = "pending", _("Waiting for the upload")
    UPLOADED = "uploaded", _("Uploaded")
    UPLOAD_FAILED = "upload_failed", _("Upload failed")
    PROCESSING = "processing", _("Being read")
    PROCESSED = "processed", _("Read")
    FAILED = "processing_failed", _("Could not be read")


class TrainingKind(models.TextChoices):
    """Why a training job was queued."""

    TRAIN = "train", _("Training")
    REFRESH = "refresh", _("Refresh")
    CLEANUP = "cleanup", _("Removal")


class TrainingStatus(models.TextChoices):
    """Where a training job stands."""

    QUEUED = "queued", _("Waiting")
    PROCESSING = "processing", _("Running")
    COMPLETED = "completed", _("Completed")
    PARTIAL = "partially_completed", _("Partly completed")
    FAILED = "failed", _("Failed")
    CLEANED_UP = "cleanup_completed", _("Removed")


LIVE_TRAINING: Final = (TrainingStatus.QUEUED, TrainingStatus.PROCESSING)


class TrainingStage(models.TextChoices):
    """What a running training job is doing."""

    WAITING = "waiting", _("Waiting")
    FINDING = "finding", _("Finding pages")
    READING = "reading", _("Reading")
    EMBEDDING = "embedding", _("Embedding")
    TIDYING = "tidying", _("Removing what is gone")
    DONE = "done", _("Done")


class VersionState(models.TextChoices):
    """Whether a version of the embeddings, or of a bot's configuration, is in use."""

    DRAFT = "draft", _("Draft")
    TRAINING = "training", _("Training")
    ACTIVE = "active", _("Active")
    FAILED = "failed", _("Failed")
    DEPRECATED = "deprecated", _("Replaced")


class Fusion(models.TextChoices):
    """How the dense and the lexical ranking are made one."""

    RRF = "rrf", _("Reciprocal ranks")
    MIN_MAX = "min_max", _("Scores between their extremes")


class ReceiptKind(models.TextChoices):
    """Who wanted the passages."""

    CHAT = "chat", _("Visitor")
    PLAYGROUND = "playground", _("Playground")
    TEST = "test", _("Test set")


class Outcome(models.TextChoices):
    """What the passages came to."""

    ANSWERED = "answered", _("Answered")
    CURATED = "curated", _("Answered in the business's words")
    REFUSED = "refused", _("Not known")


class ClusterStatus(models.TextChoices):
    """What people have done about a question that has no answer."""

    OPEN = "open", _("Unanswered")
    DRAFTED = "drafted", _("Draft to approve")
    APPROVED = "approved", _("Answered")
    DISMISSED = "dismissed", _("Dismissed")


class GapReason(models.TextChoices):
    """Why a question counts as unanswered."""

    NO_EVIDENCE = "no_evidence", _("Nothing was found")
    BAD_RATING = "bad_rating", _("The answer was rated badly")


class Retest(models.TextChoices):
    """What asking again, after an answer was approved, came to."""

    NOT_YET = "", _("Not asked again")
    ANSWERED = "answered", _("Answered")
    UNANSWERED = "unanswered", _("Still unanswered")


class TestRunStatus(models.TextChoices):
    """Where a run of a test set stands."""

    __test__ = False

    QUEUED = "queued", _("Waiting")
    RUNNING = "running", _("Running")
    PASSED = "passed", _("Passed")
    FAILED = "failed", _("Failed")
    ERROR = "error", _("Could not be run")


# PostgreSQL's own text search configurations, by the language codes that pages declare.
SEARCH_CONFIGURATIONS: Final = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "et": "estonian",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "ne": "nepali",
    "nl": "dutch",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
SIMPLE: Final = "simple"


def search_configuration(language: str) -> str:
    """The text search configuration of a language code such as `de` or `pt-BR`; `simple` for every other language."""
    code = language.replace("_", "-").split("-")[0].lower()
    return SEARCH_CONFIGURATIONS.get({"nb": "no", "nn": "no"}.get(code, code), SIMPLE)
