"""What a search needs to know of a business before it starts, remembered for some seconds in each process.

A chat of a bot that was taught nothing costs no statement while that is remembered; what changes is noticed soon.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from typing import Any, Final

from knowledge import databases
from knowledge.choices import SIMPLE, Fusion, search_configuration
from knowledge.embeddings import EmbeddingModel

REMEMBERED_S: Final = 5.0
MOST_REMEMBERED: Final = 5_000
DEFAULT_PASSAGES: Final = 6

READ: Final = """
SELECT v.id, v.provider, v.model, v.version, v.dimensions, v.query_prefix, v.prefix, v.threshold, v.has_index,
       (SELECT coalesce(sum(size), 0) FROM knowledge_posting WHERE business_id = v.business_id AND term = ''),
       ARRAY(SELECT DISTINCT language FROM knowledge_document WHERE business_id = v.business_id),
       c.id, c.retrieval_k, c.threshold, c.fusion, c.rerank, c.refusal_text, c.refusal_texts, c.only_with_evidence
FROM knowledge_embeddingversion v
LEFT JOIN knowledge_modelconfigversion c ON c.business_id = v.business_id AND c.bot_id = %(bot)s AND c.state = 'active'
WHERE v.business_id = %(business)s AND v.state = 'active' AND EXISTS (
    SELECT FROM knowledge_chunk k WHERE k.business_id = %(business)s AND (k.bot_id IS NULL OR k.bot_id = %(bot)s)
)
"""


@dataclass(frozen=True)
class AnswerSettings:
    """How a bot answers from what it was taught; the defaults are those of a bot for which nobody chose."""

    config_id: int | None = None
    passages: int = DEFAULT_PASSAGES
    threshold: float | None = None
    fusion: Fusion = Fusion.RRF
    rerank: bool = False
    refusal_text: str = ""
    refusal_texts: dict[str, str] = field(default_factory=dict)
    only_with_evidence: bool = True


@dataclass(frozen=True)
class Snapshot:
    """A business's search as it stands: which version, how large, in which languages, by which settings."""

    business_id: int
    bot_id: int | None
    version_id: int
    model: EmbeddingModel
    threshold: float | None
    has_index: bool
    chunk_count: int
    languages: tuple[str, ...]
    answering: AnswerSettings

    @property
    def configurations(self) -> list[str]:
        """PostgreSQL's configurations that chunks of this business were stemmed by."""
        return sorted({search_configuration(language) for language in self.languages} or {SIMPLE})


_remembered: dict[tuple[int, int | None], tuple[float, Snapshot | None]] = {}
_lock = threading.Lock()


def snapshot_of(*, business_id: int, bot_id: int | None) -> Snapshot | None:
    """None for a bot that was taught nothing. Runs in the caller's scope, which must show the business."""
    key = (business_id, bot_id)
    known = _remembered.get(key)
    if known is not None and time.monotonic() < known[0]:
        return known[1]
    read = _read(business_id, bot_id)
    with _lock:
        if len(_remembered) >= MOST_REMEMBERED:
            _remembered.clear()
        _remembered[key] = (time.monotonic() + REMEMBERED_S, read)
    return read


def forget(business_id: int) -> None:
    """Has this process look again; the others do within REMEMBERED_S."""
    with _lock:
        for key in [key for key in _remembered if key[0] == business_id]:
            del _remembered[key]


def forget_all() -> None:
    """For tests: what a process remembers must not outlive the test's database."""
    with _lock:
        _remembered.clear()


def _read(business_id: int, bot_id: int | None) -> Snapshot | None:
    with databases.connection().cursor() as cursor:
        cursor.execute(READ, {"business": business_id, "bot": bot_id})
        row = cursor.fetchone()
    return None if row is None else _snapshot(business_id, bot_id, row)


def _snapshot(business_id: int, bot_id: int | None, row: tuple[Any, ...]) -> Snapshot:
    return Snapshot(
        business_id=business_id,
        bot_id=bot_id,
        version_id=row[0],
        model=EmbeddingModel(
            provider=row[1],
            name=row[2],
            version=row[3],
            dimensions=row[4],
            query_prefix=row[5],
            passage_prefix=row[6],
        ),
        threshold=row[7],
        has_index=row[8],
        chunk_count=int(row[9]),
        languages=tuple(row[10]),
        answering=AnswerSettings() if row[11] is None else _settings(row[11:]),
    )


def _settings(row: tuple[Any, ...]) -> AnswerSettings:
    config_id, passages, threshold, fusion, rerank, refusal_text, refusal_texts, only_with_evidence = row
    return AnswerSettings(
        config_id=config_id,
        passages=passages,
        threshold=threshold,
        fusion=Fusion(fusion),
        rerank=rerank,
        refusal_text=refusal_text,
        refusal_texts=json.loads(refusal_texts),
        only_with_evidence=only_with_evidence,
    )
