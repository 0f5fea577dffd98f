"""Embedding by the miners, who are strangers: nothing that they send is kept before it was checked.

Every job mixes probes among its texts: sentences made up of the batch's own words, whose vectors this machine knows
because it runs the same model for questions. A miner cannot tell them from the rest. Now and then a whole job is done
twice, by different miners. A miner caught once is a suspect and gets no further text; where no miner can be had, or
none is honest, this machine does the work itself, slower.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from django.utils import timezone

from knowledge.embeddings.base import MAX_BATCH, Batch, Embedder, EmbeddingModel, Vectors, checked
from knowledge.errors import EmbeddingRejected
from miners import embed_jobs
from miners.embed_jobs import EmbedRequest, Reply

logger = logging.getLogger(__name__)

PROBES: Final = 2
PROBE_WORDS: Final = 14
TEXTS_PER_JOB: Final = MAX_BATCH - PROBES
SECOND_OPINIONS: Final = 0.04
MOST_TRIES: Final = 3
# float16 on the way costs 0.0001; a GPU's half precision against the CPU's single up to 0.005.
NEAR_ENOUGH: Final = 0.99


@dataclass
class NetworkEmbedder:
    """Passages by the miners, questions by `local`, which runs the same model here."""

    local: Embedder
    dice: random.Random = field(default_factory=random.SystemRandom)
    second_opinions: float = SECOND_OPINIONS
    wait_s: float = 60.0

    @property
    def model(self) -> EmbeddingModel:
        return self.local.model

    def embed_passages(self, batch: Batch) -> Vectors:
        texts = list(batch.texts)
        parts = [self._part(texts[at : at + TEXTS_PER_JOB], batch) for at in range(0, len(texts), TEXTS_PER_JOB)]
        return np.concatenate(parts) if parts else np.zeros((0, self.model.dimensions), dtype=np.float32)

    def embed_query(self, text: str) -> Vectors:
        return self.local.embed_query(text)

    def _part(self, texts: list[str], batch: Batch) -> Vectors:
        caught: list[int] = []
        for _ in range(MOST_TRIES):
            first = self._by_a_miner(texts, batch, caught)
            if first is None:
                break
            if not first.is_honest:
                caught.append(first.miner_id)
                continue
            liar = self._contradicted(texts, batch, first, caught)
            if liar is None:
                return first.vectors
            caught.append(liar)
        return self.local.embed_passages(Batch(texts, batch.business_id, batch.min_trust))

    def _by_a_miner(self, texts: list[str], batch: Batch, avoid: Sequence[int]) -> _Answer | None:
        """What one miner says, judged by the probes; None when no miner answers."""
        probes = [self._probe(texts) for _ in range(PROBES)]
        places = list(range(len(texts) + PROBES))
        self.dice.shuffle(places)
        mixed = [""] * len(places)
        for place, text in zip(places, [*texts, *probes], strict=True):
            mixed[place] = text
        reply = embed_jobs.embed(self._request(mixed, batch, avoid), wait_s=self.wait_s)
        return None if reply is None else self._judged(reply, places, probes, len(texts))

    def _judged(self, reply: Reply, places: list[int], probes: list[str], count: int) -> _Answer:
        try:
            vectors = checked(reply.vectors, rows=len(places), dimensions=self.model.dimensions)[places]
        except EmbeddingRejected as error:
            return self._caught(reply.miner_id, str(error.detail))
        known = self.local.embed_passages(Batch(probes))
        if _nearness(vectors[count:], known).min() < NEAR_ENOUGH:
            return self._caught(reply.miner_id, "its vectors of known texts are wrong")
        return _Answer(reply.miner_id, vectors[:count])

    def _contradicted(self, texts: list[str], batch: Batch, first: _Answer, caught: Sequence[int]) -> int | None:
        """Which of two miners lied, where a second one was asked and does not agree with the first."""
        if self.dice.random() >= self.second_opinions:
            return None
        second = self._by_a_miner(texts, batch, [*caught, first.miner_id])
        if second is None or not second.is_honest:
            return None
        nearness = _nearness(first.vectors, second.vectors)
        worst = int(nearness.argmin())
        if nearness[worst] >= NEAR_ENOUGH:
            return None
        known = self.local.embed_passages(Batch([texts[worst]]))
        if _nearness(first.vectors[worst : worst + 1], known)[0] < NEAR_ENOUGH:
            return self._caught(first.miner_id, "another miner's vectors contradict its own").miner_id
        self._caught(second.miner_id, "another miner's vectors contradict its own")
        return None

    def _caught(self, miner_id: int, reason: str) -> _Answer:
        logger.warning("Miner %s sent wrong vectors: %s", miner_id, reason)
        embed_jobs.distrust(miner_id, reason=reason, now=timezone.now())
        return _Answer(miner_id, np.zeros((0, self.model.dimensions), dtype=np.float32), is_honest=False)

    def _probe(self, texts: list[str]) -> str:
        words = " ".join(self.dice.sample(texts, min(3, len(texts)))).split() or ["probe"]
        return " ".join(self.dice.choice(words) for _ in range(PROBE_WORDS))

    def _request(self, texts: list[str], batch: Batch, avoid: Sequence[int]) -> EmbedRequest:
        model = self.model
        return EmbedRequest(
            texts=[model.passage_prefix + text for text in texts],
            model=model.name,
            dimensions=model.dimensions,
            business_id=batch.business_id,
            min_trust=batch.min_trust,
            avoid=list(avoid),
        )


@dataclass(frozen=True)
class _Answer:
    """A miner's vectors of the texts, without the probes."""

    miner_id: int
    vectors: Vectors
    is_honest: bool = True


def _nearness(some: Vectors, others: Vectors) -> Vectors:
    """Row by row; both hold unit vectors."""
    nearness: Vectors = np.einsum("ij,ij->i", some, others)
    return nearness
