"""The word lists that full-text search reads: written per segment of chunks, rewritten when chunks of it are gone.

BM25 without its IDF is known when a chunk is written, so it is stored beside the chunk's id; IDF depends on the whole
business and is worked out per question. Terms are PostgreSQL's own stems, by the language of each chunk, except in
scripts without spaces, which its parser does not cut: there every pair of neighbouring characters is a term.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any, Final

from accounts.tenancy import business_scope
from knowledge import databases
from knowledge.embeddings.hashed import UNSPACED, words_of

K1: Final = 1.2
B: Final = 0.75
AVERAGE_TERMS: Final = 140
HEADING_WEIGHT: Final = 3
IMPACT_SCALE: Final = 10_000
MOST_SEGMENTS: Final = 24
SEGMENT_CHUNKS: Final = 5_000
LOCK: Final = 0x6D69_6101
UNSPACED_SQL: Final = r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]"

POST: Final = """
INSERT INTO knowledge_posting (business_id, segment, term, size, chunk_ids, impacts)
SELECT %(business)s, %(segment)s, term, count(*), string_agg(int8send(id), ''::bytea ORDER BY id),
       string_agg(int2send(impact::smallint), ''::bytea ORDER BY id)
FROM (
    SELECT c.id, u.lexeme AS term,
           round(%(scale)s * tf * (%(k1)s + 1)
                 / (tf + %(k1)s * (1 - %(b)s + %(b)s * length(c.search_vector) / %(average)s))) AS impact
    FROM knowledge_chunk c, unnest(c.search_vector) u,
         LATERAL (SELECT (cardinality(u.positions)
                          + (%(heading)s - 1) * cardinality(array_positions(u.weights, 'A')))::float AS tf) counted
    WHERE c.business_id = %(business)s AND c.id = ANY (%(chunks)s)
      AND length(u.lexeme) <= 255 AND u.lexeme !~ %(unspaced)s
) weighed
GROUP BY term
UNION ALL
SELECT %(business)s, %(segment)s, '', count(*), string_agg(int8send(id), ''::bytea ORDER BY id),
       string_agg(int2send(0::smallint), ''::bytea ORDER BY id)
FROM knowledge_chunk WHERE business_id = %(business)s AND id = ANY (%(chunks)s) HAVING count(*) > 0
"""

POST_ROWS: Final = """
INSERT INTO knowledge_posting (business_id, segment, term, size, chunk_ids, impacts)
SELECT %(business)s, %(segment)s, row.term, octet_length(row.ids) / 8, row.ids, row.impacts
FROM unnest(%(terms)s::text[], %(ids)s::bytea[], %(impacts)s::bytea[]) AS row(term, ids, impacts)
"""

UNSPACED_CHUNKS: Final = """
SELECT id, heading, words FROM knowledge_chunk
WHERE business_id = %(business)s AND id = ANY (%(chunks)s) AND (words ~ %(unspaced)s OR heading ~ %(unspaced)s)
ORDER BY id
"""

LISTED: Final = "SELECT segment, chunk_ids FROM knowledge_posting WHERE business_id = %s AND term = '' ORDER BY segment"
LIVE: Final = "SELECT id FROM knowledge_chunk WHERE business_id = %s ORDER BY id"
DROP: Final = "DELETE FROM knowledge_posting WHERE business_id = %s AND segment = ANY (%s)"


def post(*, business_id: int, chunk_ids: Sequence[int]) -> int:
    """Lists the chunks that are not listed yet, as one more segment; how many those were."""
    with business_scope(business_id):
        lock(business_id)
        listed = {chunk for chunks in _segments(business_id).values() for chunk in chunks}
        new = sorted(set(chunk_ids) - listed)
        _write(business_id, new)
    return len(new)


def tidy(*, business_id: int) -> int:
    """Rewrites segments that hold chunks which are gone, and joins small ones; how many were rewritten.

    Afterwards no word of a deleted chunk is left in the lists.
    """
    with business_scope(business_id):
        lock(business_id)
        segments = _segments(business_id)
        live = {row[0] for row in _rows(LIVE, [business_id])}
        stale = {segment for segment, chunks in segments.items() if not live.issuperset(chunks)}
        if len(segments) > MOST_SEGMENTS:
            stale |= {segment for segment, chunks in segments.items() if len(chunks) < SEGMENT_CHUNKS}
        if not stale:
            return 0
        _execute(DROP, [business_id, sorted(stale)])
        kept = sorted(live.intersection(*[{chunk for segment in stale for chunk in segments[segment]}]))
        for at in range(0, len(kept), SEGMENT_CHUNKS):
            _write(business_id, kept[at : at + SEGMENT_CHUNKS])
    return len(stale)


def _write(business_id: int, chunk_ids: list[int]) -> None:
    if not chunk_ids:
        return
    given = {"business": business_id, "segment": chunk_ids[0], "chunks": chunk_ids, "unspaced": UNSPACED_SQL}
    _execute(
        POST,
        {**given, "scale": IMPACT_SCALE, "k1": K1, "b": B, "average": AVERAGE_TERMS, "heading": HEADING_WEIGHT},
    )
    terms = _pairs(_rows(UNSPACED_CHUNKS, given))
    if terms:
        columns = {
            "terms": list(terms),
            "ids": [b"".join(chunk.to_bytes(8, "big") for chunk, _ in entries) for entries in terms.values()],
            "impacts": [b"".join(impact.to_bytes(2, "big") for _, impact in entries) for entries in terms.values()],
        }
        _execute(POST_ROWS, {**given, **columns})


def _pairs(chunks: Sequence[tuple[int, str, str]]) -> dict[str, list[tuple[int, int]]]:
    """Pairs of characters with the chunks that hold them and their impact there, ascending by chunk."""
    found: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for chunk_id, heading, words in chunks:
        counts = Counter(unspaced_terms(words))
        for pair in unspaced_terms(heading):
            counts[pair] += HEADING_WEIGHT
        for pair, count in counts.items():
            found[pair].append((chunk_id, impact_of(count, len(counts))))
    return found


def unspaced_terms(text: str) -> list[str]:
    """The pairs of characters that stand for words where nobody writes spaces."""
    return [word for word in words_of(text) if UNSPACED.match(word)]


def impact_of(count: int, terms: int) -> int:
    """BM25's weight of a term in a chunk, without IDF, scaled to fit 16 bits; as the statement above has it."""
    return round(IMPACT_SCALE * count * (K1 + 1) / (count + K1 * (1 - B + B * terms / AVERAGE_TERMS)))


def _segments(business_id: int) -> dict[int, list[int]]:
    return {
        segment: [int.from_bytes(chunks[at : at + 8], "big") for at in range(0, len(chunks), 8)]
        for segment, chunks in _rows(LISTED, [business_id])
    }


def lock(business_id: int) -> None:
    """One writer of a business's lists at a time; until the transaction ends."""
    _execute("SELECT pg_advisory_xact_lock(%s, %s)", [LOCK, business_id % 2**31])


def _rows(sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    with databases.connection().cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def _execute(sql: str, parameters: Any) -> None:
    with databases.connection().cursor() as cursor:
        cursor.execute(sql, parameters)
