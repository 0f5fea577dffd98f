"""Questions without an answer: gathered, drafted, approved, asked again."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import BusinessFactory
from knowledge import answering, drafting, gaps, receipts
from knowledge.answering import Asked
from knowledge.choices import ClusterStatus, Outcome, Retest
from knowledge.models import QuestionCluster, RetrievalLog, UnansweredQuestion
from knowledge.tests.factories import train
from knowledge.tests.pages import teach
from mia.lib.errors import Conflict, InvalidRequest
from miners.choices import JobState, Lane
from miners.models import Job
from miners.results import announce_end

pytestmark = pytest.mark.django_db

PARAPHRASES = (
    "Do you rent tandem bicycles?",
    "Can I rent a tandem bicycle from you?",
    "Is it possible to rent tandem bicycles at your shop?",
    "tandem bicycle rental",
    "Where do I rent a tandem bicycle?",
)


@pytest.fixture
def shop(db: None) -> Business:
    business = BusinessFactory()
    teach(business.pk, ("Returns", "You may send back any helmet within 30 days of delivery.", ""))
    return business


def ask(business: Business, *questions: str) -> None:
    """Asks what the bot does not know."""
    now = timezone.now()
    with business_scope(business.pk):
        for question in questions:
            grounding = answering.ground(Asked(business_id=business.pk, bot_id=None, question=question))
            assert grounding is not None
            assert grounding.outcome == Outcome.REFUSED
            answering.keep_receipt(grounding, conversation_id=uuid4(), job_id=None, prompt_hash="", now=now)


def clusters() -> list[QuestionCluster]:
    with platform_scope():
        return list(QuestionCluster.objects.all())


def retests() -> list[str]:
    with platform_scope():
        return list(UnansweredQuestion.objects.values_list("retest", flat=True))


def test_five_wordings_of_one_question_are_one_missing_answer(shop: Business) -> None:
    ask(shop, *PARAPHRASES, "What is the weather in Oslo?")
    gaps.gather_due(now=timezone.now())
    assert sorted(cluster.size for cluster in clusters()) == [1, 5]


def test_a_later_wording_joins_what_is_there(shop: Business) -> None:
    for question in PARAPHRASES[:2]:
        ask(shop, question)
        gaps.gather_due(now=timezone.now())
    assert [cluster.size for cluster in clusters()] == [2]


def test_an_approved_answer_answers_all_wordings_when_they_are_asked_again(shop: Business) -> None:
    ask(shop, *PARAPHRASES)
    gaps.gather_due(now=timezone.now())
    (cluster,) = clusters()
    drafting.approve(cluster, answer="Yes, for 40 euros a day.", approved_by="Alice", now=timezone.now())
    assert drafting.retest_due(now=timezone.now()) == 0, "not before it is trained"
    train(shop)
    assert drafting.retest_due(now=timezone.now()) == 5
    assert set(retests()) == {Retest.ANSWERED}
    assert clusters()[0].status == ClusterStatus.APPROVED


def test_a_missing_answer_is_approved_once(shop: Business) -> None:
    ask(shop, PARAPHRASES[0])
    gaps.gather_due(now=timezone.now())
    (cluster,) = clusters()
    drafting.approve(cluster, answer="Yes.", approved_by="Alice", now=timezone.now())
    with pytest.raises(Conflict):
        drafting.approve(cluster, answer="No.", approved_by="Bob", now=timezone.now())


def test_nothing_is_approved_without_words(shop: Business) -> None:
    ask(shop, PARAPHRASES[0])
    gaps.gather_due(now=timezone.now())
    with pytest.raises(InvalidRequest):
        drafting.approve(clusters()[0], answer="  ", approved_by="Alice", now=timezone.now())


def test_a_draft_comes_from_the_network_and_waits_for_approval(shop: Business) -> None:
    ask(shop, PARAPHRASES[0])
    ask(shop, f"{PARAPHRASES[0]} Write to ana@example.org")
    gaps.gather_due(now=timezone.now())
    now = timezone.now()
    job = drafting.request_draft(clusters()[0], now=now)
    assert job.lane == Lane.IDLE
    assert PARAPHRASES[0] in job.messages[1]["content"]
    assert "ana@example.org" not in job.messages[1]["content"]
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(state=JobState.COMPLETED, output="We rent tandems.", finished_at=now)
        announce_end(Job.objects.get(pk=job.pk), now)
    (cluster,) = clusters()
    assert (cluster.draft, cluster.status) == ("We rent tandems.", ClusterStatus.DRAFTED)


def test_a_draft_does_not_overwrite_what_people_wrote(shop: Business) -> None:
    ask(shop, PARAPHRASES[0])
    gaps.gather_due(now=timezone.now())
    now = timezone.now()
    job = drafting.request_draft(clusters()[0], now=now)
    with platform_scope():
        QuestionCluster.objects.update(draft="My own words.")
        Job.objects.filter(pk=job.pk).update(state=JobState.COMPLETED, output="A machine's.", finished_at=now)
        announce_end(Job.objects.get(pk=job.pk), now)
    assert clusters()[0].draft == "My own words."


def test_a_receipt_replayed_gives_the_same_chunks(shop: Business) -> None:
    with business_scope(shop.pk):
        asked = Asked(business_id=shop.pk, bot_id=None, question="Within how many days may I send back a helmet?")
        grounding = answering.ground(asked)
        assert grounding is not None
        log = answering.keep_receipt(
            grounding, conversation_id=None, job_id=uuid4(), prompt_hash="", now=timezone.now()
        )
        again = receipts.replay(log)
    assert again is not None
    assert again.is_same
    assert again.now


def test_old_receipts_and_questions_are_forgotten(shop: Business, settings: Settings) -> None:
    settings.RECEIPT_DAYS = 30
    ask(shop, *PARAPHRASES[:2])
    with platform_scope():
        old = timezone.now() - timedelta(days=31)
        RetrievalLog.objects.filter(query=PARAPHRASES[0]).update(created_at=old)
        UnansweredQuestion.objects.filter(question=PARAPHRASES[0]).update(asked_at=old)
    assert receipts.forget_old_receipts(now=timezone.now()) == 2
    with platform_scope():
        assert RetrievalLog.objects.get().query == UnansweredQuestion.objects.get().question == PARAPHRASES[1]


def test_questions_of_two_businesses_never_meet(shop: Business) -> None:
    other = BusinessFactory()
    teach(other.pk, ("Pizza", "We bake pizza.", ""))
    ask(shop, PARAPHRASES[0])
    ask(other, PARAPHRASES[0])
    gaps.gather_due(now=timezone.now())
    assert [cluster.size for cluster in clusters()] == [1, 1]
