"""Tests of a bot, run before a change to it is published; and what calibration makes of its questions."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import BusinessFactory
from knowledge import configs, test_sets
from knowledge.choices import TestRunStatus, VersionState
from knowledge.models import EmbeddingVersion, ModelConfigVersion, TestCase, TestRun, TestSet
from knowledge.snapshot import forget, snapshot_of
from knowledge.tests.pages import teach
from mia.lib.errors import Conflict

pytestmark = pytest.mark.django_db
BOT = 7
PAGES = (
    ("Returns", "You may send back any helmet within 30 days of delivery.", "https://shop.example/returns"),
    ("Shipping", "Standard delivery takes two to four working days and costs 4.90 euros.", ""),
    ("Warranty", "Aluminium frames carry a warranty of five years against breakage.", ""),
    ("Vouchers", "Gift vouchers are valid for three years and can be redeemed online.", ""),
)
QUESTIONS = (
    "Within how many days may I send back a helmet?",
    "What does standard delivery cost?",
    "How many working days does delivery take?",
    "How many years of warranty do aluminium frames carry?",
    "Are aluminium frames covered against breakage?",
    "How long are gift vouchers valid?",
    "Can gift vouchers be redeemed online?",
    "Can a helmet be sent back after delivery?",
    "Which warranty is there on frames?",
    "Where can vouchers be redeemed?",
)


@pytest.fixture
def shop(db: None) -> Business:
    business = BusinessFactory()
    teach(business.pk, *PAGES, bot_id=BOT)
    return business


@pytest.fixture
def tests(shop: Business) -> TestSet:
    with platform_scope():
        made = TestSet.objects.create(business_id=shop.pk, bot_id=BOT, name="Golden")
        cases = [
            {"question": QUESTIONS[0], "expected_phrase": "30 days", "expected_url": "https://shop.example/returns"},
            {"question": QUESTIONS[1], "expected_phrase": "4.90"},
            {"question": "What is the capital of Mongolia?", "expects_refusal": True},
        ]
        for case in cases:
            TestCase.objects.create(business_id=shop.pk, test_set=made, **case)
    return made


def config(shop: Business, **fields: Any) -> ModelConfigVersion:
    with platform_scope():
        number = configs.next_number(business_id=shop.pk, bot_id=BOT)
        return ModelConfigVersion.objects.create(business_id=shop.pk, bot_id=BOT, number=number, **fields)


def run(tests: TestSet, draft: ModelConfigVersion | None = None) -> TestRun:
    with business_scope(tests.business_id):
        return test_sets.run(test_set=tests, config=draft, now=timezone.now())


def states() -> dict[int, str]:
    with platform_scope():
        return dict(ModelConfigVersion.objects.values_list("number", "state"))


def test_a_bot_that_answers_as_expected_passes(tests: TestSet) -> None:
    made = run(tests)
    assert (made.status, made.passed, made.failed) == (TestRunStatus.PASSED, 3, 0)


def test_a_missing_phrase_fails_and_says_so(tests: TestSet) -> None:
    with platform_scope():
        tests.cases.filter(question=QUESTIONS[1]).update(expected_phrase="9.90")
    made = run(tests)
    assert made.failed == 1
    assert "does not say “9.90”" in next(row["reason"] for row in made.results if not row["passed"])


def test_a_change_that_breaks_an_answer_is_not_published(shop: Business, tests: TestSet) -> None:
    draft = config(shop, threshold=0.99)
    verdict = test_sets.publish(config=draft, now=timezone.now())
    assert not verdict.is_published
    assert [change.question for change in verdict.changes if change.is_worse] == [QUESTIONS[0], QUESTIONS[1]]
    assert QUESTIONS[0] in verdict.complaint
    assert states() == {1: VersionState.DRAFT}


def test_a_change_that_breaks_nothing_is_published(shop: Business, tests: TestSet) -> None:
    first, second = config(shop, retrieval_k=4), config(shop, retrieval_k=5)
    for draft in (first, second):
        assert test_sets.publish(config=draft, now=timezone.now()).is_published
    assert states() == {1: VersionState.DEPRECATED, 2: VersionState.ACTIVE}
    with business_scope(shop.pk):
        snapshot = snapshot_of(business_id=shop.pk, bot_id=BOT)
    assert snapshot is not None
    assert snapshot.answering.passages == 5


def test_an_override_is_kept_with_its_reason(shop: Business, tests: TestSet) -> None:
    draft = config(shop, threshold=0.99)
    verdict = test_sets.publish(config=draft, override_reason="The fair", published_by="Alice", now=timezone.now())
    assert (verdict.is_published, verdict.is_overridden) == (True, True)
    with platform_scope():
        kept = TestRun.objects.get(model_config=draft)
    assert (kept.override_reason, kept.overridden_by_label) == ("The fair", "Alice")


def test_what_is_in_use_is_not_published_again(shop: Business) -> None:
    draft = config(shop)
    test_sets.publish(config=draft, now=timezone.now())
    with pytest.raises(Conflict):
        test_sets.publish(config=draft, now=timezone.now())


def test_a_change_of_the_bots_model_is_a_version_that_keeps_how_it_retrieves(shop: Business) -> None:
    test_sets.publish(config=config(shop, retrieval_k=9), now=timezone.now())
    with business_scope(shop.pk):
        made = configs.record_model_settings(
            business_id=shop.pk,
            bot_id=BOT,
            model="llama",
            settings={"temperature": 0.1},
            changed_by="alice@example.org",
            user_id=1,
            now=timezone.now(),
        )
    assert (made.number, made.model, made.settings, made.retrieval_k) == (2, "llama", {"temperature": 0.1}, 9)
    assert states() == {1: VersionState.DEPRECATED, 2: VersionState.ACTIVE}


def test_calibration_prints_and_keeps_a_threshold(shop: Business) -> None:
    with platform_scope():
        made = TestSet.objects.create(business_id=shop.pk, bot_id=BOT, name="Golden")
        for question in QUESTIONS:
            TestCase.objects.create(business_id=shop.pk, test_set=made, question=question)
    forget(shop.pk)
    printed = io.StringIO()
    call_command("calibrate", str(shop.pk), bot=BOT, stdout=printed, stderr=io.StringIO())
    with platform_scope():
        threshold = EmbeddingVersion.objects.get().threshold
    assert f"threshold {threshold:.3f}" in printed.getvalue()
    assert "refuses 100.0% of" in printed.getvalue()


def test_calibration_without_questions_says_what_it_needs(shop: Business) -> None:
    with pytest.raises(CommandError, match="at least 8 questions"):
        call_command("calibrate", str(shop.pk), bot=BOT)
