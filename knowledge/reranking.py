"""A second look at what was found, by a cross-encoder on the network, for as long as a visitor may wait.

The miner can do no more than put passages into another order: what was found, and whether it is evidence enough, is
settled before. Without scores in time the fused order stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from django.conf import settings

from accounts.models import Business
from accounts.tenancy import platform_scope
from miners import rerank_jobs
from miners.apart import apart
from miners.choices import Trust
from miners.rerank_jobs import RerankRequest

if TYPE_CHECKING:
    from knowledge.retrieval import Passage

WAIT_S: Final = 0.8
GRACE_S: Final = 0.2
MOST_PASSAGES: Final = 16
MAX_PASSAGE_CHARS: Final = 2_000


def reranked(*, business_id: int, question: str, passages: Sequence[Passage]) -> list[Passage] | None:
    """The passages in the order that a miner gives them, curated ones first; None where none answers in time."""
    looked_at = passages[:MOST_PASSAGES]
    if not settings.RERANK_MODEL or len(looked_at) < 2:
        return None
    texts = [f"{passage.heading}\n{passage.text}"[:MAX_PASSAGE_CHARS] for passage in looked_at]
    request = RerankRequest(question, texts, settings.RERANK_MODEL, business_id, _trust_of(business_id))
    # A question is answered inside a transaction, whose jobs nobody would see before its end.
    scored = apart(lambda: rerank_jobs.rerank(request, wait_s=WAIT_S), timeout_s=WAIT_S + GRACE_S)
    if scored is None:
        return None
    order = sorted(range(len(looked_at)), key=lambda at: (not looked_at[at].is_curated, -scored.scores[at], at))
    return [*(looked_at[at] for at in order), *passages[MOST_PASSAGES:]]


def _trust_of(business_id: int) -> Trust:
    """What a miner must have to read this business's words at all."""
    with platform_scope():
        demanded = Business.objects.filter(pk=business_id).values_list("min_trust", flat=True).first()
    return Trust(max(demanded or Trust.VERIFIED, Trust.VERIFIED))
