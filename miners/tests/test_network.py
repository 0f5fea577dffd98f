"""The network's state as dashboards, charts and metrics see it."""

from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import network
from miners.choices import JobKind, MinerStatus, Trust
from miners.choices import Lane as JobLane
from miners.models import Job, NetworkSample
from miners.network import Latency, Snapshot
from miners.tests.factories import hold, make_job, make_miner

pytestmark = pytest.mark.django_db

NOTHING = Latency(None, None, None, None)


def look() -> Snapshot:
    with platform_scope():
        return network.snapshot(now=timezone.now(), latency=NOTHING)


def queries_of_a_look() -> int:
    with platform_scope(), CaptureQueriesContext(connection) as captured:
        network.snapshot(now=timezone.now(), latency=NOTHING)
    return len(captured)


def test_a_snapshot_costs_at_most_four_queries_whatever_the_network() -> None:
    for _ in range(3):
        hold(make_job(), make_miner()[0])
    few = queries_of_a_look()
    for _ in range(20):
        hold(make_job(), make_miner()[0])
        make_job()
    assert queries_of_a_look() == few <= 4


def test_miners_and_jobs_are_counted() -> None:
    working, _ = make_miner(name="b", slots=4)
    make_miner(name="a", status=MinerStatus.BUSY)
    make_miner(name="c", drain_requested=True)
    make_miner(name="d", pause_requested=True)
    make_miner(last_active=timezone.now() - timedelta(minutes=1))
    make_miner(trust=Trust.BANNED)
    held = hold(make_job(), working, acked=True)
    make_job()
    make_job(kind=JobKind.API, lane=JobLane.API)
    make_job(kind=JobKind.IDLE, lane=JobLane.IDLE)
    state = look()
    assert (state.online, state.idle, state.busy) == (4, 1, 1)
    assert [row["status"] for row in state.miners] == ["idle", "busy", "draining", "paused"]
    assert (state.queued_chat, state.queued_api, state.queued_idle, state.running) == (1, 1, 1, 1)
    assert [row["name"] for row in state.miners] == ["a", "b", "c", "d"]
    assert state.miners[1]["jobs"] == [str(held.pk)[:8]]
    assert state.miners[1]["slots_free"] == 3


def test_latency_is_that_of_real_jobs() -> None:
    now = timezone.now()
    with platform_scope():
        for start_ms, first_ms in ((100, 300), (200, 500), (300, 700)):
            job = make_job()
            Job.objects.filter(pk=job.pk).update(
                attempt_count=1,
                created_at=now,
                offered_at=now + timedelta(milliseconds=start_ms),
                first_token_at=now + timedelta(milliseconds=first_ms),
            )
        make_job(kind=JobKind.IDLE, lane=JobLane.IDLE)
        measured = network.measure_latency(now=now)
    assert measured.start_p50_ms == pytest.approx(200)
    assert measured.first_token_p50_ms == pytest.approx(500)
    assert measured.start_p95_ms == pytest.approx(290)


def test_a_quiet_network_has_no_latency() -> None:
    with platform_scope():
        assert network.measure_latency(now=timezone.now()) == NOTHING


def test_samples_are_kept_for_a_day() -> None:
    now = timezone.now()
    state = look()
    for age in (timedelta(hours=25), timedelta(minutes=90), timedelta(minutes=5), timedelta(0)):
        network.keep_sample(state, now=now - age)
    network.keep_sample(state, now=now)
    assert NetworkSample.objects.count() == 3
    assert [sample.at for sample in network.history(now=now)] == [now - timedelta(minutes=5), now]
