"""The fake: vectors that a test wrote down, and failures on demand. Never for production; a system check says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from knowledge.embeddings.base import Batch, EmbeddingModel, Vectors, unit
from knowledge.embeddings.hashed import HashedEmbedder
from knowledge.errors import EmbeddingError


@dataclass
class ScriptedEmbedder:
    """Known texts get the vectors that they were given, all others what the hashed embedder makes of them."""

    known: Mapping[str, Vectors] = field(default_factory=dict)
    failure: EmbeddingError | None = None
    asked: list[str] = field(default_factory=list)
    version: str = "1"

    @property
    def model(self) -> EmbeddingModel:
        return EmbeddingModel(provider="scripted", name="scripted", version=self.version, dimensions=384)

    def embed_passages(self, batch: Batch) -> Vectors:
        self._note(*batch.texts)
        made = HashedEmbedder().embed_passages(batch)
        rows = [self.known.get(text, row) for text, row in zip(batch.texts, made, strict=True)]
        return unit(np.stack(rows).astype(np.float32)) if rows else made

    def embed_query(self, text: str) -> Vectors:
        self._note(text)
        return self.known.get(text, HashedEmbedder().embed_query(text))

    def _note(self, *texts: str) -> None:
        self.asked.extend(texts)
        if self.failure is not None:
            raise self.failure
