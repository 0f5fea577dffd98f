"""The passages that may answer a question: dense and full-text search, fused, with the evidence that there is.

Two statements: the posting lists of the question's words, then the nearest vectors together with everything that is
shown of the chunks either search found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from time import perf_counter
from typing import Any, Final

from knowledge import databases, headings, lexical, ranking, reranking
from knowledge.embeddings import Vectors, embedder_for
from knowledge.embeddings.base import written
from knowledge.errors import EmbeddingError
from knowledge.lexical import LexicalHits
from knowledge.snapshot import Snapshot

CANDIDATES: Final = 40
# Some of the words' best chunks may be another bot's or gone, and are dropped only when they are read.
LEXICAL_CANDIDATES: Final = 60
EF_SEARCH: Final = 400
MAX_SECTION_CHARS: Final = 2_400
OPENING_CHARS: Final = 400
OPENING_END: Final = re.compile(r".*(?:[.!?:…。！？](?=\s)|(?=\n))", re.DOTALL)

TUNE: Final = "SELECT set_config('hnsw.ef_search', %s, true), set_config('hnsw.iterative_scan', 'relaxed_order', true)"

READ: Final = """
WITH dense AS MATERIALIZED (
    SELECT e.chunk_id, e.vector::halfvec({size}) <#> %(vector)s::halfvec({size}) AS distance
    FROM knowledge_embedding e
    WHERE e.business_id = %(business)s AND e.embedding_version_id = %(version)s
      AND (e.bot_id IS NULL OR e.bot_id = %(bot)s)
    ORDER BY e.vector::halfvec({size}) <#> %(vector)s::halfvec({size}) LIMIT %(dense)s
), picked AS (
    SELECT chunk_id FROM dense UNION SELECT unnest(%(lexical)s::bigint[])
)
SELECT c.id, c.document_id, c.section_id, c.position, c.heading, c.words, c.curated, c.language,
       coalesce(nullif(d.title, ''), s.title) AS title, d.url, d.facts_at, n.anchor,
       CASE WHEN length(n.text) <= %(section_chars)s THEN n.text ELSE '' END AS section,
       left(n.text, %(opening_chars)s) AS opening,
       dense.chunk_id IS NOT NULL AS is_near,
       coalesce(-dense.distance, -(e.vector::halfvec({size}) <#> %(vector)s::halfvec({size})), 0) AS similarity
FROM picked
JOIN knowledge_chunk c ON c.business_id = %(business)s AND c.id = picked.chunk_id
JOIN knowledge_document d ON d.business_id = %(business)s AND d.id = c.document_id
JOIN knowledge_source s ON s.business_id = %(business)s AND s.id = c.source_id
JOIN knowledge_section n ON n.business_id = %(business)s AND n.id = c.section_id
LEFT JOIN dense ON dense.chunk_id = picked.chunk_id
LEFT JOIN knowledge_embedding e ON e.business_id = %(business)s AND e.embedding_version_id = %(version)s
     AND e.chunk_id = c.id
WHERE c.bot_id IS NULL OR c.bot_id = %(bot)s
"""


@dataclass(frozen=True)
class Passage:
    """A chunk that was found, with what each search thought of it."""

    chunk_id: int
    document_id: int
    section_id: int
    position: int
    title: str
    url: str
    heading: str
    words: str
    section: str
    opening: str
    anchor: str
    language: str
    is_curated: bool
    facts_at: datetime | None
    similarity: float
    lexical: float
    coverage: float
    evidence: float
    score: float = 0.0

    @property
    def text(self) -> str:
        """The section that it stands in, where that is short, else the slice itself after how the section begins."""
        if self.section or self.opening.startswith(self.words[: OPENING_CHARS // 4]):
            return self.section or self.words
        found = OPENING_END.match(self.opening)
        if found is None:
            return self.words
        opening = found.group().strip()
        # A program that the opening leaves unfinished would swallow what follows.
        return f"{opening}\n```\n\n{self.words}" if opening.count("```") % 2 else f"{opening}\n\n{self.words}"


@dataclass(frozen=True)
class Found:
    """The passages for one question, best first."""

    query: str
    passages: tuple[Passage, ...] = ()
    threshold: float = 0.0
    words: tuple[str, ...] = ()
    timings: Mapping[str, float] = field(default_factory=dict)
    is_reranked: bool = False

    @property
    def evidence(self) -> float:
        return max((passage.evidence for passage in self.passages), default=0.0)

    @property
    def is_enough(self) -> bool:
        return bool(self.passages) and self.evidence >= self.threshold


def retrieve(*, snapshot: Snapshot, query: str, passages: int = 0) -> Found:
    """At most as many passages as the bot's settings say, or `passages`. Runs in the caller's scope.

    Where the embedder cannot be reached, full-text search alone decides.
    """
    clock = Clock()
    with clock.times("embed_ms"):
        vector = embedded(snapshot, query)
    with clock.times("lexical_ms"):
        hits = lexical.search(
            query,
            business_id=snapshot.business_id,
            configurations=snapshot.configurations,
            chunk_count=snapshot.chunk_count,
            limit=LEXICAL_CANDIDATES,
        )
    with clock.times("dense_ms"):
        rows = read(snapshot, vector, hits)
    found = _one_per_section(_ranked(snapshot, query, rows, hits, has_vector=vector is not None))
    again = None
    if snapshot.answering.rerank:
        with clock.times("rerank_ms"):
            again = reranking.reranked(business_id=snapshot.business_id, question=query, passages=found)
    return Found(
        query=query,
        passages=tuple((again or found)[: passages or snapshot.answering.passages]),
        threshold=threshold_of(snapshot),
        words=hits.words,
        timings=clock.milliseconds,
        is_reranked=again is not None,
    )


def threshold_of(snapshot: Snapshot) -> float:
    """What the bot's settings say, else what was calibrated for the business, else what fits the embedder."""
    for threshold in (snapshot.answering.threshold, snapshot.threshold):
        if threshold is not None:
            return threshold
    return ranking.default_threshold(snapshot.model.provider)


@dataclass
class Clock:
    """How long each step took."""

    milliseconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def times(self, name: str) -> Iterator[None]:
        began = perf_counter()
        yield
        self.milliseconds[name] = round((perf_counter() - began) * 1000, 2)


def embedded(snapshot: Snapshot, query: str) -> Vectors | None:
    try:
        return embedder_for(snapshot.model).embed_query(query)
    except EmbeddingError:
        return None


def read(snapshot: Snapshot, vector: Vectors | None, hits: LexicalHits) -> list[dict[str, Any]]:
    size = snapshot.model.dimensions
    given = {
        "business": snapshot.business_id,
        "version": snapshot.version_id,
        "bot": snapshot.bot_id,
        "vector": written(vector) if vector is not None else None,
        "dense": CANDIDATES if vector is not None else 0,
        "lexical": hits.chunk_ids.tolist(),
        "section_chars": MAX_SECTION_CHARS,
        "opening_chars": OPENING_CHARS,
    }
    with databases.connection().cursor() as cursor:
        if snapshot.has_index and vector is not None:
            cursor.execute(TUNE, [str(EF_SEARCH)])
        cursor.execute(READ.format(size=int(size)), given)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _ranked(
    snapshot: Snapshot, query: str, rows: Sequence[dict[str, Any]], hits: LexicalHits, *, has_vector: bool
) -> list[Passage]:
    provider = snapshot.model.provider
    by_words = dict(zip(hits.chunk_ids.tolist(), hits.scores.tolist(), strict=True))
    read = {row["id"]: _passage(row, hits, by_words, provider) for row in rows}
    fused = ranking.fuse(
        # What the words found is ranked by its vector too: an HNSW walk may have missed it.
        dense={row["id"]: row["similarity"] for row in rows} if has_vector else {},
        lexical={chunk_id: by_words[chunk_id] for chunk_id in list(read) if chunk_id in by_words},
        headings=dict(
            zip(read, headings.agreements(query, [row["heading"] for row in rows], hits.rarities), strict=True)
        ),
        fusion=snapshot.answering.fusion,
        provider=provider,
    )
    return [replace(read[chunk_id], score=score) for chunk_id, score in fused]


def _passage(row: Mapping[str, Any], hits: LexicalHits, by_words: Mapping[int, float], provider: str) -> Passage:
    coverage = hits.coverage_of(row["id"])
    similarity = float(row["similarity"])
    return Passage(
        chunk_id=row["id"],
        document_id=row["document_id"],
        section_id=row["section_id"],
        position=row["position"],
        title=row["title"],
        url=row["url"],
        heading=row["heading"],
        words=row["words"],
        section=row["section"],
        opening=row["opening"],
        anchor=row["anchor"],
        language=row["language"],
        is_curated=row["curated"],
        facts_at=row["facts_at"],
        similarity=similarity,
        lexical=by_words.get(row["id"], 0.0),
        coverage=coverage,
        evidence=ranking.evidence(coverage=coverage, similarity=similarity, provider=provider),
    )


def _one_per_section(found: Sequence[Passage]) -> list[Passage]:
    """The best chunk of each section: the rest of it comes with its section, or says the same again.

    A page that two sources hold is told once.
    """
    seen: set[tuple[int, str]] = set()
    told: set[tuple[str, str]] = set()
    kept = []
    for passage in found:
        key = (passage.section_id, "" if passage.section else passage.words)
        words = (passage.heading, passage.section or passage.words)
        if key not in seen and words not in told:
            kept.append(passage)
        seen.add(key)
        told.add(words)
    return kept
