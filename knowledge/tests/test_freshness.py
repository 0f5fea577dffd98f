"""How old the oldest fact is, and which answers rest on stale ones."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import BusinessFactory
from knowledge import answering, receipts
from knowledge.answering import Asked
from knowledge.choices import DocumentStatus
from knowledge.freshness import freshness_of, stale_sources
from knowledge.models import Document
from knowledge.tests.pages import teach

pytestmark = pytest.mark.django_db


@pytest.fixture
def shop(db: None) -> Business:
    business = BusinessFactory()
    teach(business.pk, ("Old", "Helmets cost 40 euros.", ""), ("New", "Gloves cost 9 euros.", ""))
    with platform_scope():
        Document.objects.update(status=DocumentStatus.TRAINED)
        Document.objects.filter(title="Old").update(facts_at=timezone.now() - timedelta(days=200))
    return business


def test_the_oldest_fact_gives_the_age(shop: Business) -> None:
    now = timezone.now()
    with business_scope(shop.pk):
        found = freshness_of([shop.pk], now=now)
        ((source, oldest),) = stale_sources(business_id=shop.pk, now=now)
    age = found.age(now)
    assert age is not None
    assert (age.days, found.stale_documents, found.is_fresh, source.title) == (200, 1, False, "Help")
    assert oldest == found.oldest_fact_at


def test_nothing_taught_has_no_age(db: None) -> None:
    business = BusinessFactory()
    with business_scope(business.pk):
        found = freshness_of([business.pk], now=timezone.now())
    assert (found.age(timezone.now()), found.is_fresh) == (None, True)


def test_a_passage_of_a_stale_page_is_marked(shop: Business) -> None:
    with business_scope(shop.pk):
        grounding = answering.ground(
            Asked(business_id=shop.pk, bot_id=None, question="What do helmets and gloves cost?")
        )
        assert grounding is not None
        notes = receipts.notes(grounding, now=timezone.now())
    assert {note["title"]: note["stale"] for note in notes} == {"Old": True, "New": False}
