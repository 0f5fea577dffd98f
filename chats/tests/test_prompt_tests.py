"""A bot's test sets stand before a change to what its model is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import AuditEntry, User
from accounts.tenancy import platform_scope
from accounts.tests.cast import *  # noqa: F403
from chats.models import Bot
from chats.tests.factories import BotFactory
from knowledge.models import TestCase, TestRun, TestSet
from miners.choices import JobKind, JobState, Trust
from miners.models import Job
from miners.results import Result, accept_result
from miners.tests.factories import hold, make_miner

LogIn = Callable[[User], Client]


class Writer:
    """A miner that tells the price where it stands in the facts, and is rude where it is told to be."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.miner, _ = make_miner(trust=Trust.VERIFIED)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident:
            self._thread.join(5)

    def _serve(self) -> None:
        while not self._over.wait(0.01):
            with platform_scope():
                job = Job.objects.filter(kind=JobKind.API, state=JobState.QUEUED).first()
            if job is not None:
                told = job.messages[0]["content"]
                answer = "A tyre costs 30 francs." if "30 francs" in told and "Be rude" not in told else "Go away."
                held = hold(job, self.miner, acked=True)
                accept_result(miner=self.miner, result=Result(job.pk, answer, fence=held.fence), now=timezone.now())
        connections.close_all()


@pytest.fixture
def writer(transactional_db: None) -> Iterator[Writer]:
    writer = Writer()
    yield writer
    writer.stop()


@pytest.fixture
def bot(writer: Writer, business: Any) -> Bot:
    bot: Bot = BotFactory(business=business)
    with platform_scope():
        tests = TestSet.objects.create(business_id=bot.business_id, bot_id=bot.pk, name="Golden")
        TestCase.objects.create(
            business_id=bot.business_id, test_set=tests, question="What does a tyre cost?", expected_phrase="30 francs"
        )
    return bot


def save(browser: Client, bot: Bot, **changes: str) -> Any:
    kept = ("name", "role", "tone", "business_description", "instructions", "first_message", "max_tokens")
    kept = (*kept, "temperature", "max_context_tokens", "color", "position")
    form = {name: str(getattr(bot, name)) for name in kept} | {"is_active": "on", **changes}
    return browser.post(reverse("admin:chats_bot_change", args=[bot.pk]), form)


def stored(bot: Bot) -> Bot:
    with platform_scope():
        return Bot.objects.get(pk=bot.pk)


def test_a_change_that_breaks_a_golden_answer_waits_for_a_reason(
    writer: Writer, bot: Bot, alice: User, log_in: LogIn
) -> None:
    owner = log_in(alice)
    writer.start()
    refused = save(owner, bot, instructions="Be rude.").content.decode()
    assert "Not saved: " in refused
    assert "passed before, failed now" in refused
    assert "Go away." in refused
    assert stored(bot).instructions == ""

    assert save(owner, bot, instructions="Be rude.", override_reason="April fool").status_code == 302
    assert stored(bot).instructions == "Be rude."
    with platform_scope():
        assert AuditEntry.objects.filter(changes__because="April fool").exists()
        assert TestRun.objects.latest("pk").override_reason == "April fool"


def test_a_change_under_which_all_is_answered_is_saved(writer: Writer, bot: Bot, alice: User, log_in: LogIn) -> None:
    writer.start()
    assert save(log_in(alice), bot, tone="warm").status_code == 302
    assert stored(bot).tone == "warm"


def test_how_a_bot_looks_asks_nobody(bot: Bot, alice: User, log_in: LogIn) -> None:
    assert save(log_in(alice), bot, color="#112233").status_code == 302
    with platform_scope():
        assert not Job.objects.exists()
