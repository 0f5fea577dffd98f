"""What can go wrong in knowledge.

EmbeddingError
├── EmbeddingUnavailable   asking again later may help
└── EmbeddingRejected      asking again will not: a wrong key, a wrong model, vectors of the wrong shape
Conflict
├── TrainingInProgress     the bot is being trained already
├── AlreadyTaught          it has the same address or content already
└── TooMuchTaught          the business has as much as it may have
"""

from __future__ import annotations

from mia.lib.errors import ApplicationError, Conflict


class EmbeddingError(ApplicationError):
    """No vectors came."""

    status = 503
    code = "EMBEDDING_FAILED"
    default_detail = "The texts could not be embedded."
    permanent = False


class EmbeddingUnavailable(EmbeddingError):
    """The provider is away or busy."""

    code = "EMBEDDING_UNAVAILABLE"
    default_detail = "The embedding provider cannot be reached at the moment."
    default_retry_after_s = 30


class EmbeddingRejected(EmbeddingError):
    """The provider refuses, or what it sends are not the vectors that were asked for."""

    code = "EMBEDDING_REJECTED"
    default_detail = "The embedding provider refused the texts or answered with something else."
    permanent = True


class TrainingInProgress(Conflict):
    """The bot is being trained already."""

    code = "TRAINING_IN_PROGRESS"
    default_detail = "Training is already in progress for this bot."


class AlreadyTaught(Conflict):
    """The bot has a source with the same address or the same content."""

    code = "ALREADY_TAUGHT"
    default_detail = "The bot has been given the same address or content before."


class TooMuchTaught(Conflict):
    """The business has as much here as it may have."""

    code = "TOO_MUCH_TAUGHT"
    default_detail = "There is no room for more."
