"""What can go wrong in knowledge.

EmbeddingError
├── EmbeddingUnavailable   asking again later may help
└── EmbeddingRejected      asking again will not: a wrong key, a wrong model, vectors of the wrong shape
"""

from __future__ import annotations

from mia.lib.errors import ApplicationError


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
