"""The playground, and what else of answers is done in the admin."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from accounts.models import AuditEntry, Business, User
from accounts.tenancy import platform_scope
from chats.models import Bot
from chats.tests.factories import BotFactory
from knowledge.models import ModelConfigVersion, QuestionCluster, RetrievalLog, TestCase, TestSet
from knowledge.tests.pages import leave_questions, teach

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]


@pytest.fixture
def bot(business: Business) -> Bot:
    bot = BotFactory(business=business, name="Dora", is_default=True)
    teach(business.pk, ("Returns", "You may send back any helmet within 30 days of delivery.", ""))
    return bot


def words(response: object) -> str:
    assert response.status_code == 200  # type: ignore[attr-defined]
    text = re.sub(r"<[^>]+>", " ", response.content.decode())  # type: ignore[attr-defined]
    return re.sub(r"\s+", " ", text)


def ask(browser: Client, question: str, **query: object) -> str:
    return words(browser.get(reverse("admin:knowledge_playground"), {"q": question, **query}))


def act(browser: Client, row: object, name: str, **data: str) -> str:
    kind = row._meta.model_name  # type: ignore[attr-defined]
    url = reverse(f"admin:knowledge_{kind}_act", args=[row.pk, name])  # type: ignore[attr-defined]
    return words(browser.post(url, data, follow=True))


def test_it_shows_passages_and_scores_and_writes_nothing(bot: Bot, alice: User, log_in: LogIn) -> None:
    page = ask(log_in(alice), "Within how many days may I send back a helmet?", bot=bot.pk)
    assert "[1] Returns" in page
    assert "You may send back any helmet within 30 days" in page
    assert re.search(r"evidence 0\.\d+ · words covered", page)
    with platform_scope():
        assert not RetrievalLog.objects.exists()


def test_it_shows_the_refusal(bot: Bot, alice: User, log_in: LogIn) -> None:
    assert "I do not have an answer to that" in ask(log_in(alice), "What is the capital of Mongolia?", bot=bot.pk)


def test_nobody_asks_a_bot_of_another_business(bot: Bot, other_business: Business, alice: User, log_in: LogIn) -> None:
    other = BotFactory(business=other_business)
    teach(other_business.pk, ("Secret", "The golden helmet is in the cellar.", ""))
    page = ask(log_in(alice), "Where is the golden helmet?", bot=other.pk)
    assert "cellar" not in page
    assert other.name not in page


@pytest.mark.parametrize("query", [{"bot": "x"}, {"bot": "9" * 40}, {"config": "-1"}])
def test_nonsense_in_the_address_is_no_error(bot: Bot, alice: User, log_in: LogIn, query: dict[str, str]) -> None:
    assert log_in(alice).get(reverse("admin:knowledge_playground"), query).status_code == 200


def test_a_draft_that_breaks_a_test_is_stopped_and_an_override_is_on_record(
    bot: Bot, alice: User, log_in: LogIn
) -> None:
    with platform_scope():
        own = {"business_id": bot.business_id, "bot_id": bot.pk}
        tests = TestSet.objects.create(**own, name="Golden")
        question = "Within how many days may I send back a helmet?"
        TestCase.objects.create(business_id=bot.business_id, test_set=tests, question=question)
        draft = ModelConfigVersion.objects.create(**own, number=1, threshold=0.99)
    browser = log_in(alice)
    assert "Not published, its tests fail." in act(browser, draft, "publish_it")
    assert "Say why" in act(browser, draft, "publish_anyway")
    assert "Published in spite of failing tests." in act(browser, draft, "publish_anyway", words="The fair is on.")
    with platform_scope():
        entries = AuditEntry.objects.filter(target_type="knowledge.modelconfigversion")
        changes = list(entries.values_list("changes", flat=True))
    assert any("published in spite of" in change for change in changes)


def test_settings_are_made_for_a_bot_of_ones_own(bot: Bot, other_bot_id: int, alice: User, log_in: LogIn) -> None:
    browser, add = log_in(alice), reverse("admin:knowledge_modelconfigversion_add")
    form = {"retrieval_k": "4", "fusion": "rrf", "only_with_evidence": "on", "refusal_text": "No idea.", "note": "x"}
    browser.post(add, {**form, "bot": str(other_bot_id)})
    browser.post(add, {**form, "bot": str(bot.pk)})
    with platform_scope():
        made = ModelConfigVersion.objects.get()
    assert (made.bot_id, made.business_id, made.number, made.retrieval_k) == (bot.pk, bot.business_id, 1, 4)


@pytest.fixture
def other_bot_id(other_business: Business) -> int:
    return int(BotFactory(business=other_business).pk)


def test_a_missing_answer_is_approved_in_the_admin(bot: Bot, alice: User, log_in: LogIn) -> None:
    leave_questions(bot.business_id, bot.pk)
    with platform_scope():
        cluster = QuestionCluster.objects.get()
        QuestionCluster.objects.update(draft="In the cellar.")
    assert "The bot is learning it." in act(log_in(alice), cluster, "approve_it")
    with platform_scope():
        assert QuestionCluster.objects.get().status == "approved"


def test_a_receipt_is_replayed(bot: Bot, alice: User, log_in: LogIn) -> None:
    leave_questions(bot.business_id, bot.pk)
    with platform_scope():
        log = RetrievalLog.objects.get()
    assert "The same chunks are found today, in the same order." in act(log_in(alice), log, "replay_it")


def test_a_test_set_is_run(bot: Bot, alice: User, log_in: LogIn) -> None:
    leave_questions(bot.business_id, bot.pk)
    with platform_scope():
        tests = TestSet.objects.get()
    assert "0 passed, 1 failed." in act(log_in(alice), tests, "run_it")
