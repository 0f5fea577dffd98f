"""What every embedder promises, and the checks that nothing gets past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from knowledge.errors import EmbeddingRejected
from miners.choices import Trust

Vectors = NDArray[np.float32]

MAX_DIMENSIONS: Final = 4096
MAX_BATCH: Final = 64


@dataclass(frozen=True)
class EmbeddingModel:
    """What makes vectors comparable: only those of one model are ever compared."""

    provider: str
    name: str
    version: str
    dimensions: int
    query_prefix: str = ""
    passage_prefix: str = ""


@dataclass(frozen=True)
class Batch:
    """Passages of one business; `min_trust` is what a miner that reads them must have."""

    texts: Sequence[str]
    business_id: int | None = None
    min_trust: Trust = Trust.TRUSTED


class Embedder(Protocol):
    """Makes unit vectors, of passages in bulk and of one question at once."""

    @property
    def model(self) -> EmbeddingModel:
        """Which vectors come out."""

    def embed_passages(self, batch: Batch) -> Vectors:
        """One row per text, in order; all or nothing. Raises EmbeddingUnavailable, EmbeddingRejected."""

    def embed_query(self, text: str) -> Vectors:
        """One vector. Never asks the miners: a visitor waits. Raises as `embed_passages` does."""


def checked(raw: object, *, rows: int, dimensions: int) -> Vectors:
    """Unit vectors from what a provider sent, or EmbeddingRejected: right in shape, finite, none of them empty."""
    try:
        vectors = np.asarray(raw, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingRejected("The vectors are not numbers of one length.") from error
    if vectors.shape != (rows, dimensions):
        raise EmbeddingRejected(f"Expected {rows} vectors of {dimensions} numbers, got the shape {vectors.shape}.")
    if not np.isfinite(vectors).all():
        raise EmbeddingRejected("The vectors hold numbers that are not finite.")
    return unit(vectors)


def unit(vectors: Vectors) -> Vectors:
    """Rows of length one; a row of zeros has no direction and is refused."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise EmbeddingRejected("A vector is zero.")
    scaled: Vectors = (vectors / lengths).astype(np.float32)
    return scaled


def written(vector: Vectors) -> str:
    """As pgvector reads it; half precision holds no more digits."""
    return "[" + ",".join(f"{number:.5g}" for number in vector.tolist()) + "]"
