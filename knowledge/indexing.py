"""From chunks to what is searched: vectors in every open version, and the lists of words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import monotonic
from typing import Final

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from knowledge import ann, postings, snapshot, versions
from knowledge.choices import FETCHED_KINDS, VersionState
from knowledge.databases import connection
from knowledge.embeddings import Batch, Vectors, embedder_for, is_set_up
from knowledge.embeddings.base import written
from knowledge.models import Chunk, EmbeddingVersion
from miners.choices import Trust

BATCH_CHUNKS: Final = 256

STORE: Final = """
INSERT INTO knowledge_embedding (business_id, embedding_version_id, chunk_id, bot_id, dimensions, vector, created_at)
SELECT %(business)s, %(version)s, c.id, c.bot_id, %(dimensions)s, given.vector::halfvec, %(now)s
FROM unnest(%(chunks)s::bigint[], %(vectors)s::text[]) AS given(chunk, vector)
JOIN knowledge_chunk c ON c.id = given.chunk AND c.business_id = %(business)s
ON CONFLICT (business_id, embedding_version_id, chunk_id) DO NOTHING
"""


@dataclass(frozen=True)
class Indexed:
    """What one call did."""

    chunks: int
    embedded: int
    seconds: float


def index_chunks(*, business_id: int, chunk_ids: Sequence[int], now: datetime) -> Indexed:
    """Makes chunks findable; those that are already cost nothing. Raises EmbeddingUnavailable, EmbeddingRejected.

    Not for a transaction: the miners see a job only once it is committed. A chunk deleted meanwhile is left out.
    """
    began = monotonic()
    embedded = 0
    for version in _usable(versions.open_versions(business_id=business_id, now=now)):
        embedded += embed_missing(version=version, chunk_ids=chunk_ids, now=now)
    postings.post(business_id=business_id, chunk_ids=chunk_ids)
    return Indexed(len(chunk_ids), embedded, monotonic() - began)


def finish_training(*, business_id: int, now: datetime) -> None:
    """After chunks came or went: no word of a deleted one stays, a new version takes over, a large business is indexed.

    Not for a transaction.
    """
    postings.tidy(business_id=business_id)
    for version in _usable(versions.open_versions(business_id=business_id, now=now)):
        complete_version(version=version, now=now)
    snapshot.forget(business_id)


def complete_version(*, version: EmbeddingVersion, now: datetime) -> None:
    """Embeds what this version lacks, indexes it where it is large, and has it take over if it was growing."""
    while chunk_ids := _missing(version):
        embed_missing(version=version, chunk_ids=chunk_ids, now=now)
    if not version.has_index and ann.needs_index(version):
        ann.build_index(version)
    if version.state == VersionState.TRAINING:
        versions.switch(version=version, now=now)


def embed_missing(*, version: EmbeddingVersion, chunk_ids: Sequence[int], now: datetime) -> int:
    """Vectors for those of the chunks that have none in this version; how many were made."""
    embedder = embedder_for(versions.model_of(version))
    embedded = 0
    for is_public, chunks in _readable(version, chunk_ids).items():
        trust = _trust_for(version.business_id, is_public=is_public)
        for at in range(0, len(chunks), BATCH_CHUNKS):
            part = chunks[at : at + BATCH_CHUNKS]
            texts = [chunk.embedded_text for chunk in part]
            vectors = embedder.embed_passages(Batch(texts, version.business_id, trust))
            embedded += _store(version, [chunk.pk for chunk in part], vectors, now)
    return embedded


def _usable(found: Sequence[EmbeddingVersion]) -> list[EmbeddingVersion]:
    """Without those of a model that is no longer set up, where another is growing to take over."""
    return [version for version in found if len(found) == 1 or is_set_up(versions.model_of(version))]


def _missing(version: EmbeddingVersion) -> list[int]:
    with business_scope(version.business_id):
        return versions.missing_chunks(version=version, limit=BATCH_CHUNKS)


def _readable(version: EmbeddingVersion, chunk_ids: Sequence[int]) -> dict[bool, list[Chunk]]:
    """The chunks without a vector, apart by whether anybody can read them on the web anyway."""
    with business_scope(version.business_id):
        chunks = Chunk.objects.for_business(version.business_id).filter(pk__in=chunk_ids).order_by("pk")
        chunks = chunks.exclude(embeddings__embedding_version=version).select_related("source")
        apart: dict[bool, list[Chunk]] = {True: [], False: []}
        for chunk in chunks.only("heading", "words", "source__kind"):
            apart[chunk.source.kind in FETCHED_KINDS].append(chunk)
    return apart


def _trust_for(business_id: int, *, is_public: bool) -> Trust:
    """What a miner must have that reads the texts: files and notes are for trusted ones alone."""
    if not is_public:
        return Trust.TRUSTED
    with platform_scope():
        demanded = Business.objects.filter(pk=business_id).values_list("min_trust", flat=True).first()
    return Trust(max(demanded or Trust.VERIFIED, Trust.VERIFIED))


def _store(version: EmbeddingVersion, chunk_ids: list[int], vectors: Vectors, now: datetime) -> int:
    with business_scope(version.business_id), connection().cursor() as cursor:
        cursor.execute(
            STORE,
            {
                "business": version.business_id,
                "version": version.pk,
                "dimensions": version.dimensions,
                "now": now,
                "chunks": chunk_ids,
                "vectors": [written(vector) for vector in vectors],
            },
        )
        return int(cursor.rowcount)
