"""One dispatcher leads, whoever it is; what it does each second survives lost services."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners.choices import JobState, MinerStatus, Trust
from miners.hearing import SIGN_KEY
from miners.leader import BEAT_KEY, LOCK_KEY, SNAPSHOT_KEY, Dispatcher, Duty, Leadership
from miners.limits import HEARD_AGAIN, LEASE
from miners.models import Canary, CanaryTrial, Job, Miner, NetworkSample
from miners.tests.factories import hold, make_job, make_miner, reload

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def dispatcher() -> Any:
    """A dispatcher; it gives the lead up at the end."""
    made = Dispatcher()
    yield made
    made._leadership.release()


def end_sessions_holding_the_lock() -> None:
    """As when the leader's machine is gone and PostgreSQL notices."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND objid = %s",
            [LOCK_KEY & 0xFFFFFFFF],
        )


def let_lease_run_out(job: Job) -> None:
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(lease_until=timezone.now() - LEASE)


def test_of_two_one_leads() -> None:
    first, second = Leadership(), Leadership()
    try:
        assert first.acquire()
        assert not second.acquire()
        assert first.acquire(), "it stays the leader"
        first.release()
        assert second.acquire()
    finally:
        first.release()
        second.release()


def test_the_lead_is_lost_with_the_connection() -> None:
    first, second = Leadership(), Leadership()
    try:
        assert first.acquire()
        end_sessions_holding_the_lock()
        assert second.acquire()
        assert not first.acquire()
    finally:
        first.release()
        second.release()


def test_who_does_not_lead_does_nothing(dispatcher: Dispatcher, redis_client: Any) -> None:
    leader = Leadership()
    try:
        assert leader.acquire()
        assert dispatcher.tick() is False
        assert not redis_client.exists(BEAT_KEY)
    finally:
        leader.release()
    assert dispatcher.tick() is True
    assert redis_client.exists(BEAT_KEY)


def test_a_dispatcher_that_has_just_started_faults_nobody(dispatcher: Dispatcher, redis_client: Any) -> None:
    redis_client.set(SIGN_KEY, "1")
    miner, _ = make_miner()
    held = hold(make_job(), miner, acked=True)
    let_lease_run_out(held)
    dispatcher.tick()
    assert reload(held).state == JobState.RUNNING
    dispatcher._hearing._deaf_at -= HEARD_AGAIN.total_seconds()
    for duty in dispatcher._duties:
        duty.due_at = 0
    dispatcher.tick()
    assert reload(held).state == JobState.QUEUED


def test_offers_and_deadlines_run_out_even_then(dispatcher: Dispatcher) -> None:
    offered = hold(make_job(), make_miner()[0])
    let_lease_run_out(offered)
    late = make_job(deadline=timedelta(seconds=-1))
    dispatcher.tick()
    assert (reload(offered).state, reload(late).state) == (JobState.QUEUED, JobState.EXPIRED)


def test_the_snapshot_is_there_for_dashboards_that_open(dispatcher: Dispatcher, redis_client: Any) -> None:
    _, _ = make_miner(name="berlin-1")
    dispatcher.tick()
    state = json.loads(redis_client.get(SNAPSHOT_KEY))
    assert [row["name"] for row in state["miners"]] == ["berlin-1"]
    assert NetworkSample.objects.get().online == 1


def test_newcomers_are_sent_canaries(dispatcher: Dispatcher) -> None:
    Canary.objects.get_or_create(question="When?", defaults={"facts": "At nine.", "expected": "nine"})
    miner, _ = make_miner(trust=Trust.PROBATION)
    dispatcher.tick()
    with platform_scope():
        assert CanaryTrial.objects.get().miner_id == miner.pk


def test_without_redis_the_reaper_goes_on(dispatcher: Dispatcher, embedded_redis: Any) -> None:
    late = make_job(deadline=timedelta(seconds=-1))
    embedded_redis.crash()
    assert dispatcher.tick() is True
    assert reload(late).state == JobState.EXPIRED


def test_a_duty_that_fails_does_not_stop_the_others(dispatcher: Dispatcher) -> None:
    done: list[str] = []

    def fails(_: Any) -> None:
        raise ZeroDivisionError

    dispatcher._duties = [Duty(1, fails), Duty(1, lambda _: done.append("the next"))]
    dispatcher.tick()
    assert done == ["the next"]


def test_a_duty_is_not_done_before_it_is_due(dispatcher: Dispatcher) -> None:
    done: list[int] = []
    dispatcher._duties = [Duty(60, lambda _: done.append(1))]
    dispatcher.tick()
    dispatcher.tick()
    assert done == [1]


def test_a_silent_miner_is_offline_once_somebody_listened(dispatcher: Dispatcher, redis_client: Any) -> None:
    redis_client.set(SIGN_KEY, "1")
    miner, _ = make_miner(last_active=timezone.now() - timedelta(minutes=1))
    dispatcher.tick()
    assert Miner.objects.get(pk=miner.pk).status == MinerStatus.IDLE
    dispatcher._hearing._deaf_at -= HEARD_AGAIN.total_seconds()
    dispatcher._duties[0].due_at = 0
    dispatcher.tick()
    assert Miner.objects.get(pk=miner.pk).status == MinerStatus.OFFLINE
