"""Any server with OpenAI's `/embeddings`: OpenAI itself, vLLM, TEI, infinity, a gateway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from knowledge.embeddings.base import MAX_BATCH, Batch, EmbeddingModel, Vectors, checked
from knowledge.errors import EmbeddingRejected, EmbeddingUnavailable
from mia.lib.http import OutboundError, post_json

QUERY_TIMEOUT_S: Final = 3.0
BATCH_TIMEOUT_S: Final = 60.0
MAX_REPLY_BYTES: Final = 16_000_000
MAX_TEXT_CHARS: Final = 24_000


@dataclass(frozen=True)
class OpenAIEmbedder:
    """Asks one endpoint, in batches; the address passes the same checks as every other that the platform calls."""

    model: EmbeddingModel
    url: str
    key: str = field(default="", repr=False)

    def embed_passages(self, batch: Batch) -> Vectors:
        texts = [self.model.passage_prefix + text for text in batch.texts]
        parts = [self._ask(texts[at : at + MAX_BATCH], BATCH_TIMEOUT_S) for at in range(0, len(texts), MAX_BATCH)]
        return np.concatenate(parts) if parts else np.zeros((0, self.model.dimensions), dtype=np.float32)

    def embed_query(self, text: str) -> Vectors:
        vector: Vectors = self._ask([self.model.query_prefix + text], QUERY_TIMEOUT_S)[0]
        return vector

    def _ask(self, texts: Sequence[str], timeout_s: float) -> Vectors:
        body = {
            "model": self.model.name,
            "input": [text[:MAX_TEXT_CHARS] for text in texts],
            "encoding_format": "float",
        }
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        try:
            reply = post_json(
                f"{self.url.rstrip('/')}/embeddings",
                body,
                headers=headers,
                timeout_s=timeout_s,
                max_bytes=MAX_REPLY_BYTES,
            )
        except OutboundError as error:
            kind = EmbeddingRejected if error.permanent else EmbeddingUnavailable
            raise kind(f"The embedding endpoint cannot be used: {error.reason}.") from error
        return checked(_rows(reply, len(texts)), rows=len(texts), dimensions=self.model.dimensions)


def _rows(reply: object, count: int) -> list[object]:
    """The vectors in the order of the texts, whatever the order of the reply."""
    listed = reply.get("data") if isinstance(reply, dict) else None
    if not isinstance(listed, list) or len(listed) != count:
        raise EmbeddingRejected("The embedding endpoint did not send one vector per text.")
    rows: dict[int, object] = {}
    for place, item in enumerate(listed):
        if isinstance(item, dict):
            index = item.get("index", place)
            rows[index if isinstance(index, int) else place] = item.get("embedding")
    if sorted(rows) != list(range(count)):
        raise EmbeddingRejected("The embedding endpoint did not number its vectors.")
    return [rows[place] for place in range(count)]
