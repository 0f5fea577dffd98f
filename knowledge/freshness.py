"""How old what a business's bots say may be: the oldest fact, and answers that rest on stale pages."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db.models import Count, F, Min, Q

from knowledge.choices import FETCHED_KINDS, DocumentStatus
from knowledge.models import Document, Source

STALE_AFTER: Final = timedelta(days=90)
OVERDUE: Final = timedelta(hours=2)


@dataclass(frozen=True)
class Freshness:
    """The age of a business's knowledge at one moment."""

    oldest_fact_at: datetime | None
    stale_documents: int
    overdue_sources: int
    documents: int

    def age(self, now: datetime) -> timedelta | None:
        return None if self.oldest_fact_at is None else now - self.oldest_fact_at

    @property
    def is_fresh(self) -> bool:
        return not (self.stale_documents or self.overdue_sources)


def freshness_of(business_ids: Iterable[int] | None, *, now: datetime) -> Freshness:
    """Of these businesses, or of all in scope. Two statements."""
    documents = Document.objects.filter(status=DocumentStatus.TRAINED)
    sources = Source.objects.filter(kind__in=FETCHED_KINDS, refresh_hours__gt=0)
    if business_ids is not None:
        documents, sources = (rows.filter(business_id__in=list(business_ids)) for rows in (documents, sources))
    ages = documents.aggregate(
        oldest=Min("facts_at"), stale=Count("pk", filter=Q(facts_at__lt=now - STALE_AFTER)), number=Count("pk")
    )
    overdue = sources.filter(next_refresh_at__lt=now - OVERDUE).count()
    return Freshness(ages["oldest"], ages["stale"], overdue, ages["number"])


def stale_sources(*, business_id: int, now: datetime, limit: int = 20) -> list[tuple[Source, datetime]]:
    """Sources whose oldest fact is stale, oldest first."""
    sources = Source.objects.for_business(business_id).annotate(
        oldest=Min("documents__facts_at", filter=Q(documents__status=DocumentStatus.TRAINED))
    )
    found = sources.filter(oldest__lt=now - STALE_AFTER).order_by(F("oldest").asc())[:limit]
    return [(source, source.oldest) for source in found]


def is_stale(facts_at: datetime | None, *, now: datetime) -> bool:
    return facts_at is not None and now - facts_at > STALE_AFTER
