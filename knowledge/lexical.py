"""Full-text search: BM25 over the posting lists, and how much of a question each chunk covers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from knowledge import databases
from knowledge.embeddings.hashed import stop_words, words_of
from knowledge.postings import IMPACT_SCALE, UNSPACED_SQL, unspaced_terms

STOP_IMPORTANCE: Final = 0.05
MAX_QUESTION_CHARS: Final = 2_000
# Words are taken in order of rarity. Once this many chunks are candidates, commoner words only reorder them.
ENOUGH_CANDIDATES: Final = 20_000

READ: Final = """
WITH words AS (
    SELECT u.positions[1] AS place, u.lexeme AS term, array_agg(c.name) AS configurations
    FROM unnest(%(configurations)s::text[]) AS c(name),
         LATERAL unnest(to_tsvector(('pg_catalog.' || c.name)::regconfig, %(question)s)) AS u
    WHERE u.lexeme !~ %(unspaced)s
    GROUP BY 1, 2
    UNION ALL
    SELECT 100000 + p.place, p.term, %(configurations)s::text[]
    FROM unnest(%(pairs)s::text[]) WITH ORDINALITY AS p(term, place)
)
SELECT w.place, w.term, w.configurations, p.chunk_ids, p.impacts
FROM words w LEFT JOIN knowledge_posting p ON p.business_id = %(business)s AND p.term = w.term
"""

Ids = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass
class Word:
    """One word of the question: the chunks that hold any of its stems, ascending, and how strongly."""

    term: str
    chunk_ids: Ids
    impacts: Floats
    is_stop: bool
    weight: float = 0.0


@dataclass(frozen=True)
class LexicalHits:
    """Chunks by falling score; `coverage` is the share of the question's weight that each holds."""

    chunk_ids: Ids
    scores: Floats
    coverage: Floats
    words: tuple[str, ...] = ()
    rarities: Mapping[str, float] = field(default_factory=dict)

    def coverage_of(self, chunk_id: int) -> float:
        found = np.flatnonzero(self.chunk_ids == chunk_id)
        return float(self.coverage[found[0]]) if len(found) else 0.0


NOTHING: Final = LexicalHits(np.zeros(0, np.int64), np.zeros(0), np.zeros(0))


def search(
    question: str, *, business_id: int, configurations: Sequence[str], chunk_count: int, limit: int
) -> LexicalHits:
    """The best `limit` chunks of a business, some of which may be gone or another bot's. One statement."""
    rows = _read(question[:MAX_QUESTION_CHARS], business_id, configurations)
    words = _words(rows, configurations)
    for word in words:
        word.weight = _idf(len(word.chunk_ids), chunk_count) * (STOP_IMPORTANCE if word.is_stop else 1.0)
    return _ranked(words, limit)


def _read(question: str, business_id: int, configurations: Sequence[str]) -> list[tuple[Any, ...]]:
    given: dict[str, Any] = {
        "question": question,
        "business": business_id,
        "configurations": list(configurations),
        "pairs": list(dict.fromkeys(unspaced_terms(question))),
        "unspaced": UNSPACED_SQL,
    }
    with databases.connection().cursor() as cursor:
        cursor.execute(READ, given)
        return list(cursor.fetchall())


@dataclass
class _Stems:
    """What the configurations make of the word at one place of the question, with the lists of its stems."""

    terms: list[str] = field(default_factory=list)
    configurations: set[str] = field(default_factory=set)
    lists: list[tuple[bytes, bytes]] = field(default_factory=list)


def _words(rows: Sequence[tuple[Any, ...]], configurations: Sequence[str]) -> list[Word]:
    places: dict[int, _Stems] = defaultdict(_Stems)
    for place, term, names, chunk_ids, impacts in rows:
        stems = places[place]
        stems.terms.append(term)
        stems.configurations.update(names)
        if chunk_ids is not None:
            stems.lists.append((bytes(chunk_ids), bytes(impacts)))
    return [_word(stems, configurations) for _, stems in sorted(places.items())]


def _word(stems: _Stems, configurations: Sequence[str]) -> Word:
    ids = np.concatenate([np.frombuffer(chunks, ">i8") for chunks, _ in stems.lists] or [np.zeros(0)]).astype(np.int64)
    impacts = np.concatenate([np.frombuffer(marks, ">i2") for _, marks in stems.lists] or [np.zeros(0)])
    if len(stems.lists) > 1:
        ids, impacts = _strongest(ids, impacts)
    # A language that drops the word as too common speaks for all: "die" in a German shop is no English verb.
    is_dropped = not stems.configurations.issuperset(set(configurations) - {"simple"})
    is_stop = is_dropped or all(part in stop_words() for term in stems.terms for part in words_of(term))
    return Word(stems.terms[0], ids, impacts / IMPACT_SCALE, is_stop)


def _strongest(ids: Ids, impacts: NDArray[Any]) -> tuple[Ids, NDArray[Any]]:
    """Each chunk once, with the strongest of its entries."""
    order = np.lexsort((-impacts, ids))
    ids, impacts = ids[order], impacts[order]
    first = np.concatenate([[True], ids[1:] != ids[:-1]]) if len(ids) else np.zeros(0, bool)
    return ids[first], impacts[first]


def _idf(frequency: int, chunk_count: int) -> float:
    count = max(chunk_count, frequency)
    return float(np.log1p((count - frequency + 0.5) / (frequency + 0.5)))


def _ranked(words: Sequence[Word], limit: int) -> LexicalHits:
    found = sorted((word for word in words if len(word.chunk_ids)), key=lambda word: len(word.chunk_ids))
    total = sum(word.weight for word in words)
    if not found or total <= 0:
        return NOTHING
    candidates = _candidates(found)
    scores, covered = np.zeros(len(candidates)), np.zeros(len(candidates))
    for word in found:
        places = np.searchsorted(word.chunk_ids, candidates).clip(max=len(word.chunk_ids) - 1)
        holds = word.chunk_ids[places] == candidates
        scores += np.where(holds, word.impacts[places] * word.weight, 0.0)
        covered += np.where(holds, word.weight, 0.0)
    best = np.argsort(-scores, kind="stable")[:limit]
    return LexicalHits(
        candidates[best],
        scores[best],
        covered[best] / total,
        tuple(word.term for word in words if not word.is_stop),
        {word.term: word.weight for word in words},
    )


def _candidates(found: Sequence[Word]) -> Ids:
    """Chunks with one of the rarest words, as many words as it takes."""
    chosen: list[Ids] = []
    count = 0
    for word in found:
        if chosen and count + len(word.chunk_ids) > ENOUGH_CANDIDATES:
            break
        chosen.append(word.chunk_ids)
        count += len(word.chunk_ids)
    unique: Ids = np.unique(np.concatenate(chosen))
    return unique
