"""What visitors asked in vain: gathered by meaning, answered by people with the network's help, asked again."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import numpy as np

from accounts.tenancy import business_scope, platform_scope
from knowledge import databases, postings
from knowledge.choices import ClusterStatus, GapReason, Retest
from knowledge.citations import stems
from knowledge.embeddings import Vectors
from knowledge.embeddings.hashed import HashedEmbedder
from knowledge.limits import MAX_QUESTION_CHARS
from knowledge.models import QuestionCluster, RetrievalLog, UnansweredQuestion

SAME_NEED: Final = 0.5
SHARED_WORDS: Final = 0.5
CLUSTERS_COMPARED: Final = 500
GATHERED_AT_ONCE: Final = 500
OPEN: Final = (ClusterStatus.OPEN, ClusterStatus.DRAFTED)
MAX_STORED_CHARS: Final = 2_000


def note_unanswered(log: RetrievalLog, *, now: datetime, reason: GapReason = GapReason.NO_EVIDENCE) -> None:
    """One statement; which others it belongs with is worked out later."""
    UnansweredQuestion(
        business_id=log.business_id,
        retrieval_log=log,
        bot_id=log.bot_id,
        conversation_id=log.conversation_id,
        question=log.query[:MAX_STORED_CHARS],
        language=log.language,
        reason=reason,
        asked_at=now,
    ).save(force_insert=True, using=databases.alias())


def note_bad_rating(*, business_id: int, job_id: UUID | None, now: datetime) -> bool:
    """The question behind an answer that a visitor rated badly, once; False for an answer without a receipt.

    Runs in the caller's scope.
    """
    log = RetrievalLog.objects.for_business(business_id).filter(job_id=job_id).first() if job_id else None
    if log is None or UnansweredQuestion.objects.for_business(business_id).filter(retrieval_log=log).exists():
        return False
    note_unanswered(log, now=now, reason=GapReason.BAD_RATING)
    return True


def gather_due(*, now: datetime) -> int:
    """Puts new unanswered questions with those that ask the same; how many. A duty of the dispatcher."""
    with platform_scope():
        waiting = UnansweredQuestion.objects.filter(cluster=None).order_by("business_id")
        businesses = list(waiting.values_list("business_id", flat=True).distinct())
    return sum(gather(business_id=business_id, now=now) for business_id in businesses)


def gather(*, business_id: int, now: datetime) -> int:
    with business_scope(business_id):
        postings.lock(business_id)
        new = UnansweredQuestion.objects.for_business(business_id).filter(cluster=None)
        questions = list(new.order_by("asked_at", "pk")[:GATHERED_AT_ONCE])
        clusters = list(
            QuestionCluster.objects.for_business(business_id)
            .filter(status__in=OPEN)
            .order_by("-pk")[:CLUSTERS_COMPARED]
        )
        for question in questions:
            cluster = _cluster_for(question, clusters)
            if cluster._state.adding:
                cluster.save()
                clusters.append(cluster)
            _join(question, cluster)
    return len(questions)


def _cluster_for(question: UnansweredQuestion, clusters: Sequence[QuestionCluster]) -> QuestionCluster:
    vector = HashedEmbedder().embed_query(question.question)
    alike = [cluster for cluster in clusters if cluster.bot_id == question.bot_id]
    near = [(_nearness(question, vector, cluster), cluster) for cluster in alike]
    best = max(near, key=lambda item: item[0], default=None)
    if best is not None and best[0] > 0:
        return best[1]
    return QuestionCluster(
        business_id=question.business_id,
        bot_id=question.bot_id,
        question=question.question[:MAX_QUESTION_CHARS],
        size=0,
        centre=vector.tolist(),
        last_asked_at=question.asked_at,
    )


def _nearness(question: UnansweredQuestion, vector: Vectors, cluster: QuestionCluster) -> float:
    """0 unless they ask the same: near as a whole, or with most of the words that mean something in common."""
    nearness = float(vector @ _unit(np.array(cluster.centre, dtype=np.float32)))
    mine, theirs = stems(question.question), stems(cluster.question)
    shared = len(mine & theirs) / max(min(len(mine), len(theirs)), 1)
    if nearness >= SAME_NEED or (shared >= SHARED_WORDS and len(mine & theirs) > 1):
        return max(nearness, 0.0) + shared
    return 0.0


def _join(question: UnansweredQuestion, cluster: QuestionCluster) -> None:
    vector = HashedEmbedder().embed_query(question.question)
    centre = (np.array(cluster.centre, dtype=np.float32) * cluster.size + vector) / (cluster.size + 1)
    cluster.centre, cluster.size = centre.tolist(), cluster.size + 1
    cluster.last_asked_at = max(cluster.last_asked_at, question.asked_at)
    cluster.save(update_fields=["centre", "size", "last_asked_at"])
    UnansweredQuestion.objects.filter(pk=question.pk).update(cluster=cluster)


def _unit(vector: Vectors) -> Vectors:
    length = float(np.linalg.norm(vector))
    return vector / length if length else vector


def wordings_of(cluster: QuestionCluster) -> list[str]:
    """How visitors put it, each wording once, the commonest meaning first."""
    asked = cluster.questions.order_by("asked_at", "pk").values_list("question", flat=True)
    distinct = dict.fromkeys(" ".join(question.split())[:MAX_QUESTION_CHARS] for question in asked)
    return [wording for wording in distinct if wording != cluster.question]


def recount(cluster: QuestionCluster, *, without: set[str]) -> None:
    """Makes a cluster anew from the questions that are left of it, named after one of them."""
    left = list(cluster.questions.order_by("asked_at", "pk"))
    if not left:
        return
    vectors = np.stack([HashedEmbedder().embed_query(question.question) for question in left])
    cluster.centre, cluster.size = vectors.mean(axis=0).tolist(), len(left)
    if " ".join(cluster.question.split()) in without:
        cluster.question = left[0].question[:MAX_QUESTION_CHARS]
    cluster.save(update_fields=["centre", "size", "question", "updated_at"])


def dismiss(cluster: QuestionCluster) -> None:
    QuestionCluster.objects.filter(pk=cluster.pk, status__in=OPEN).update(status=ClusterStatus.DISMISSED)


def note_retest(question: UnansweredQuestion, outcome: Retest, *, now: datetime) -> None:
    UnansweredQuestion.objects.filter(pk=question.pk).update(retest=outcome, retested_at=now)


def forget_dissolved(business_id: int) -> int:
    """Clusters whose questions have all been erased; how many went."""
    empty = QuestionCluster.objects.for_business(business_id).filter(questions=None, status__in=OPEN)
    deleted, _ = empty.delete()
    return int(deleted)
