"""What is kept of visitors here: the receipts of their answers and the questions that had none. Found, and erased."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

from django.db.models import Q, QuerySet

from knowledge import gaps
from knowledge.models import QuestionCluster, RetrievalLog, UnansweredQuestion

RECEIPT_FIELDS: Final = ("created_at", "query", "rewritten_query", "language", "outcome", "citations", "evidence")
GAP_FIELDS: Final = ("asked_at", "question", "reason", "language")


def export(*, business_id: int, conversation_ids: Sequence[UUID]) -> dict[str, list[dict[str, Any]]]:
    """Everything of these conversations. Runs in the caller's scope."""
    receipts = RetrievalLog.objects.for_business(business_id).filter(conversation_id__in=conversation_ids)
    unanswered = UnansweredQuestion.objects.for_business(business_id).filter(conversation_id__in=conversation_ids)
    return {
        "receipts": list(receipts.order_by("pk").values(*RECEIPT_FIELDS)),
        "unanswered_questions": list(unanswered.order_by("pk").values(*GAP_FIELDS)),
    }


def erase(*, business_id: int, conversation_ids: Sequence[UUID], words: Iterable[str] = ()) -> int:
    """Removes receipts, unanswered questions and what was made of them; how many rows went.

    A gathered question that a visitor worded keeps its place and loses the wording, and with it its vector. `words` are
    the visitor's name and addresses: whatever else here holds one of them goes too. Runs in the caller's scope.
    """
    receipts = RetrievalLog.objects.for_business(business_id)
    unanswered = UnansweredQuestion.objects.for_business(business_id)
    theirs = Q(conversation_id__in=conversation_ids)
    erased = list(unanswered.filter(theirs | _mentions("question", words)).values_list("question", "cluster_id"))
    gone = _delete(unanswered.filter(theirs | _mentions("question", words)))
    gone += _delete(receipts.filter(theirs | _mentions("query", words) | _mentions("rewritten_query", words)))
    _reword(business_id, [question for question, _ in erased], {cluster for _, cluster in erased if cluster})
    gone += gaps.forget_dissolved(business_id)
    return gone


def drafts_of(*, business_id: int, conversation_ids: Sequence[UUID]) -> list[UUID]:
    """The jobs that drafted an answer to a question of these conversations. Ask before they are erased."""
    asked = UnansweredQuestion.objects.for_business(business_id).filter(conversation_id__in=conversation_ids)
    drafted = QuestionCluster.objects.for_business(business_id).filter(pk__in=asked.values("cluster"))
    return list(drafted.exclude(draft_job_id=None).values_list("draft_job_id", flat=True))


def _mentions(field: str, words: Iterable[str]) -> Q:
    found = Q(pk__in=[])
    for word in words:
        if word.strip():
            found |= Q(**{f"{field}__icontains": word.strip()})
    return found


def _reword(business_id: int, questions: Sequence[str], cluster_ids: set[int]) -> None:
    """Clusters named after an erased question are named after one that is left."""
    named = [" ".join(question.split())[:500] for question in questions]
    clusters = QuestionCluster.objects.for_business(business_id).filter(pk__in=cluster_ids)
    for cluster in clusters:
        gaps.recount(cluster, without=set(named))


def _delete(rows: QuerySet[Any]) -> int:
    deleted, _ = rows.delete()
    return int(deleted)
