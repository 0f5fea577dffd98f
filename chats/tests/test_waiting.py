"""The queue as those who wait in it are told."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import Business
from accounts.tenancy import platform_scope
from chats import admission
from chats.tests.streams import run
from chats.waiting import Place, waiting_room
from mia.lib.errors import NoCapacity, RateLimited
from miners.choices import Lane, MinerStatus, Trust
from miners.models import Job
from miners.services import queue_position
from miners.tests.factories import make_job, make_miner

pytestmark = pytest.mark.django_db(transaction=True)


def places(*jobs: Job) -> list[Place | None]:
    async def scenario() -> list[Place | None]:
        return [await waiting_room().place_of(job.pk) for job in jobs]

    return run(scenario)


def age(job: Job, seconds: int) -> None:
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(created_at=timezone.now() - timedelta(seconds=seconds))


def test_the_places_are_those_of_the_network(business: Business, other_business: Business) -> None:
    make_miner(slots=2)
    jobs = [make_job(business_id=b.pk) for b in (business, business, other_business)]
    shown = places(*jobs)
    for job, place in zip(jobs, shown, strict=True):
        told = queue_position(job)
        assert (place.position, place.eta_ms) == (told.position, told.eta_ms)


def test_a_job_that_is_not_queued_has_no_place(business: Business) -> None:
    job = make_job(business_id=business.pk, lane=Lane.IDLE)
    assert places(job) == [None]


@pytest.mark.parametrize(
    ("miner", "is_stranded"),
    [
        ({}, False),
        ({"trust": Trust.PROBATION}, True),
        ({"status": MinerStatus.DRAINING}, True),
        ({"max_context": 100}, True),
        ({"last_active": timezone.now() - timedelta(minutes=5)}, True),
    ],
)
def test_a_job_is_stranded_when_nobody_online_could_do_it(
    business: Business, miner: dict[str, object], is_stranded: bool
) -> None:
    make_miner(**miner)
    job = make_job(business_id=business.pk, max_tokens=200)
    age(job, 11)
    assert places(job)[0].is_stranded is is_stranded


def test_nobody_is_stranded_in_the_first_ten_seconds(business: Business) -> None:
    job = make_job(business_id=business.pk)
    assert not places(job)[0].is_stranded


def test_many_who_wait_ask_the_database_once_a_second(business: Business, django_assert_num_queries: object) -> None:
    job = make_job(business_id=business.pk)

    async def scenario() -> None:
        room = waiting_room()
        await asyncio.gather(*(room.place_of(job.pk) for _ in range(100)))
        read_at = room._read_at
        await room.place_of(job.pk)
        assert room._read_at == read_at
        await asyncio.sleep(1.05)
        await room.place_of(job.pk)
        assert room._read_at > read_at

    run(scenario)


def test_admission_and_the_network_agree_on_the_place(business: Business) -> None:
    make_miner(slots=3)
    for _ in range(4):
        job = make_job(business_id=business.pk)
    with platform_scope():
        place = admission.admit(job)
    told = queue_position(job)
    assert (place.position, place.eta_ms) == (told.position, told.eta_ms)


def test_a_full_queue_is_remembered_for_a_moment(business: Business, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "QUEUE_CAP", 2)
    jobs = [make_job(business_id=business.pk) for _ in range(3)]
    with platform_scope(), pytest.raises(RateLimited):
        admission.admit(jobs[-1])
    with pytest.raises(RateLimited):
        admission.check_queue(business.pk)
    monkeypatch.setattr(admission, "_full_until", {})
    admission.check_queue(business.pk)


@pytest.mark.parametrize(("features", "is_taken"), [([], True), (["tools"], False)])
def test_a_long_queue_takes_only_what_somebody_online_can_do(
    business: Business, monkeypatch: pytest.MonkeyPatch, features: list[str], is_taken: bool
) -> None:
    monkeypatch.setattr(admission, "LONG_QUEUE", 0)
    make_miner()
    job = make_job(business_id=business.pk, features=features)
    with platform_scope():
        if is_taken:
            assert admission.admit(job).position == 1
        else:
            with pytest.raises(NoCapacity):
                admission.admit(job)
