"""A miner puts passages into another order in time, or the order stays."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import BusinessFactory
from knowledge import reranking
from knowledge.retrieval import Found, retrieve
from knowledge.snapshot import forget, snapshot_of
from knowledge.tests.pages import teach
from miners.choices import JobKind, JobState, Trust
from miners.models import Job
from miners.rerank_jobs import read_scores
from miners.results import Result, accept_result
from miners.tests.factories import hold, make_miner

PAGES = (
    ("Returns", "You may return any bicycle within 30 days of delivery.", ""),
    ("Bicycle returns", "How to return: print the label and return the bicycle.", ""),
)


class Judge:
    """A miner that says what it is told to say of two passages."""

    def __init__(self) -> None:
        self.output = ""
        self.asked: list[list[str]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self.miner, _ = make_miner(trust=Trust.VERIFIED, features=["rerank"], model_ids=["judge"])

    def start(self, output: str) -> None:
        self.output = output
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread.ident:
            self._thread.join(5)

    def _serve(self) -> None:
        while not self._over.wait(0.01):
            with platform_scope():
                job = Job.objects.filter(kind=JobKind.RERANK, state=JobState.QUEUED).first()
            if job is not None:
                self.asked.append([message["content"] for message in job.messages])
                held = hold(job, self.miner, acked=True)
                accept_result(
                    miner=self.miner, result=Result(job.pk, self.output, fence=held.fence), now=timezone.now()
                )
        connections.close_all()


@pytest.fixture
def judge(transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Judge]:
    settings.RERANK_MODEL = "judge"
    # A busy machine that runs tests may take its time; a visitor does not wait so long.
    monkeypatch.setattr(reranking, "WAIT_S", 20.0)
    judge = Judge()
    yield judge
    judge.stop()


@pytest.fixture
def shop(transactional_db: None) -> Business:
    business = BusinessFactory()
    teach(business.pk, *PAGES)
    return business


def find(business: Business, *, rerank: bool = True) -> Found:
    forget(business.pk)
    with business_scope(business.pk):
        snapshot = snapshot_of(business_id=business.pk, bot_id=None)
        assert snapshot is not None
        answering = replace(snapshot.answering, rerank=rerank)
        return retrieve(snapshot=replace(snapshot, answering=answering), query="How do I return a bicycle?")


def test_the_order_is_the_miners(judge: Judge, shop: Business) -> None:
    before = find(shop, rerank=False)
    judge.start('{"scores": [0.1, 0.9]}')
    after = find(shop)
    assert [passage.title for passage in after.passages] == [passage.title for passage in before.passages][::-1]
    assert (before.is_reranked, after.is_reranked, after.evidence) == (False, True, before.evidence)
    assert judge.asked[0][0] == "How do I return a bicycle?"
    assert len(judge.asked[0]) == 3


def test_scores_that_make_no_sense_change_nothing(judge: Judge, shop: Business) -> None:
    judge.start('{"scores": [0.1]}')
    assert not find(shop).is_reranked
    assert judge.asked


def test_nobody_waits_for_a_model_that_no_miner_serves(shop: Business, settings: Settings) -> None:
    settings.RERANK_MODEL = "judge"
    assert not find(shop).is_reranked
    with platform_scope():
        assert not Job.objects.exists()


def test_a_job_that_nobody_takes_in_time_is_withdrawn(
    judge: Judge, shop: Business, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reranking, "WAIT_S", 0.05)
    monkeypatch.setattr(reranking, "GRACE_S", 20.0)
    assert not find(shop).is_reranked
    with platform_scope():
        assert Job.objects.get().state == JobState.CANCELLED


@pytest.mark.parametrize("output", ["", "[]", '{"scores": [1, "NaN"]}', '{"scores": null}', '{"scores": [1]}'])
def test_only_one_finite_number_per_passage_is_a_score(output: str) -> None:
    assert read_scores(output, count=2) is None
