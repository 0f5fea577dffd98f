"""The receipt of an answer: what was searched for, what was found, how good it was, and who wrote what of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, TypedDict
from uuid import UUID

from django.conf import settings

from accounts.tenancy import platform_scope
from knowledge import curated, databases
from knowledge.choices import ClusterStatus, Outcome, ReceiptKind
from knowledge.citations import Citation, Source
from knowledge.freshness import is_stale
from knowledge.models import Chunk, RetrievalLog, UnansweredQuestion
from knowledge.retrieval import Found, retrieve
from knowledge.snapshot import Snapshot, snapshot_of

if TYPE_CHECKING:
    from knowledge.answering import Grounding

MAX_QUERY_CHARS: Final = 4_000

READ: Final = """
SELECT r.id, r.outcome, r.citations, r.passages,
       ARRAY(SELECT jsonb_build_array(c.id, CASE WHEN length(n.text) <= 2400 THEN n.text
                                                 ELSE left(n.text, 400) || E'\\n\\n' || c.words END, c.language)
             FROM knowledge_chunk c JOIN knowledge_section n ON n.business_id = r.business_id AND n.id = c.section_id
             WHERE c.business_id = r.business_id AND c.id = ANY (r.chunk_ids))
FROM knowledge_retrievallog r WHERE r.business_id = %s AND r.job_id = %s ORDER BY r.id LIMIT 1
"""


class PassageNote(TypedDict):
    """What a receipt keeps of a passage; its words stay where they are."""

    index: int
    chunk_id: int
    title: str
    url: str
    score: float
    similarity: float
    lexical: float
    coverage: float
    evidence: float
    told: bool
    stale: bool


@dataclass(frozen=True)
class Receipt:
    """A stored receipt with the passages that the model was given, as they read now."""

    log: RetrievalLog
    sources: Sequence[Source]


@dataclass(frozen=True)
class Replay:
    """The same question asked again: whether the same chunks come."""

    found: Found
    before: Sequence[int]

    @property
    def now(self) -> list[int]:
        return [passage.chunk_id for passage in self.found.passages]

    @property
    def is_same(self) -> bool:
        return self.now == list(self.before)


def keep(
    grounding: Grounding,
    *,
    kind: ReceiptKind,
    conversation_id: UUID | None = None,
    job_id: UUID | None = None,
    prompt_hash: str = "",
    now: datetime,
) -> RetrievalLog:
    """One statement."""
    found, snapshot = grounding.found, grounding.snapshot
    query = grounding.asked.question[:MAX_QUERY_CHARS]
    log = RetrievalLog(
        business_id=snapshot.business_id,
        bot_id=grounding.asked.bot_id,
        kind=kind,
        outcome=grounding.outcome,
        conversation_id=conversation_id,
        job_id=job_id,
        query=query,
        rewritten_query=found.query[:MAX_QUERY_CHARS] if found.query != grounding.asked.question else "",
        language=grounding.language,
        chunk_ids=[passage.chunk_id for passage in found.passages],
        scores=[passage.score for passage in found.passages],
        passages=notes(grounding, now=now),
        fusion=snapshot.answering.fusion,
        threshold=found.threshold,
        evidence=found.evidence,
        retrieval_k=snapshot.answering.passages,
        reranked=found.is_reranked,
        embedding_version_id=snapshot.version_id,
        model_config_id=snapshot.answering.config_id,
        prompt_hash=prompt_hash,
        citations=list(grounding.cited),
        timings=dict(found.timings),
        answered=grounding.outcome != Outcome.REFUSED,
        created_at=now,
    )
    log.save(force_insert=True, using=databases.alias())
    return log


def notes(grounding: Grounding, *, now: datetime) -> list[PassageNote]:
    told = {source.chunk_id: source for source in grounding.sources}
    return [
        PassageNote(
            index=told[passage.chunk_id].index if passage.chunk_id in told else 0,
            chunk_id=passage.chunk_id,
            title=passage.heading or passage.title,
            url=passage.url,
            score=round(passage.score, 5),
            similarity=round(passage.similarity, 4),
            lexical=round(passage.lexical, 3),
            coverage=round(passage.coverage, 3),
            evidence=round(passage.evidence, 3),
            told=passage.chunk_id in told,
            stale=is_stale(passage.facts_at, now=now),
        )
        for passage in grounding.found.passages
    ]


def of_job(*, business_id: int, job_id: UUID) -> Receipt | None:
    """One statement; the words come from the chunks, and from nowhere once those are gone."""
    with databases.connection().cursor() as cursor:
        cursor.execute(READ, [business_id, job_id])
        row = cursor.fetchone()
    if row is None:
        return None
    pk, outcome, cited, passages, chunks = row
    log = RetrievalLog(pk=pk, business_id=business_id, outcome=outcome, citations=_json(cited))
    words = {chunk_id: (text, language) for chunk_id, text, language in map(_json, chunks)}
    sources = [
        Source(note["index"], note["chunk_id"], note["title"], note["url"], *words[note["chunk_id"]])
        for note in _json(passages)
        if note["told"] and note["chunk_id"] in words
    ]
    return Receipt(log, sources)


def complete(log: RetrievalLog, *, citations: Sequence[Citation], writer: Mapping[str, Any]) -> None:
    RetrievalLog.objects.filter(pk=log.pk, business_id=log.business_id).update(citations=list(citations), **writer)


def of_conversation(*, business_id: int, conversation_id: UUID) -> dict[UUID, RetrievalLog]:
    """Receipts by the job that each is about. One statement."""
    logs = RetrievalLog.objects.for_business(business_id).filter(conversation_id=conversation_id)
    return {log.job_id: log for log in logs.exclude(job_id=None)}


def replay(log: RetrievalLog) -> Replay | None:
    """Asks again, with what is known today; None where the bot knows nothing any more."""
    snapshot: Snapshot | None = snapshot_of(business_id=log.business_id, bot_id=log.bot_id)
    if snapshot is None:
        return None
    found = retrieve(snapshot=snapshot, query=log.rewritten_query or log.query, passages=max(len(log.chunk_ids), 1))
    passages = tuple(curated.first(found.passages))
    return Replay(Found(found.query, passages, found.threshold, found.words, found.timings), log.chunk_ids)


def texts_of(log: RetrievalLog) -> dict[int, str]:
    """The words of a receipt's chunks, of those that are still there."""
    chunks = Chunk.objects.for_business(log.business_id).filter(pk__in=log.chunk_ids)
    return dict(chunks.values_list("pk", "words"))


def forget_old_receipts(*, now: datetime) -> int:
    """Those older than RECEIPT_DAYS, and the unanswered questions of that age that nobody took up; how many went.

    A duty of the dispatcher.
    """
    before = now - timedelta(days=settings.RECEIPT_DAYS)
    with platform_scope():
        deleted, _ = RetrievalLog.objects.filter(created_at__lt=before).delete()
        stale = UnansweredQuestion.objects.filter(asked_at__lt=before).exclude(cluster__status=ClusterStatus.APPROVED)
        gone, _ = stale.delete()
    return int(deleted) + int(gone)


def _json(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str | bytes) else value
