"""What runs out: offers, leases, stalled answers, prompts read too slowly, deadlines, silent miners."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import limits, reaper
from miners.choices import AttemptOutcome, JobPhase, JobState, MinerStatus
from miners.models import Attempt, Job, Miner
from miners.streams import state_key, stream_key
from miners.tests.factories import hold, make_job, make_miner, reload

pytestmark = pytest.mark.django_db(transaction=True)

SECOND = timedelta(seconds=1)


def reap() -> int:
    return reaper.reap(now=timezone.now())


def change(job: Job, **fields: Any) -> None:
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(**fields)


def attempt_of(job: Job) -> Attempt:
    with platform_scope():
        return Attempt.objects.get(pk=job.fence)


def running(**fields: Any) -> tuple[Job, Miner]:
    miner, _ = make_miner()
    held = hold(make_job(), miner, acked=True)
    change(held, lease_until=timezone.now() + limits.LEASE, **fields)
    return held, miner


def ago(silence: timedelta) -> dict[str, Any]:
    return {"progress_at": timezone.now() - silence}


def test_an_offer_that_nobody_acknowledged_is_queued_again_without_a_fault() -> None:
    miner, _ = make_miner()
    held = hold(make_job(), miner)
    change(held, lease_until=timezone.now() - SECOND)
    assert reap() == 1
    row = reload(held)
    assert (row.state, row.faults, row.tried) == (JobState.QUEUED, 0, [])
    assert attempt_of(held).outcome == AttemptOutcome.OFFER_EXPIRED
    assert Miner.objects.get(pk=miner.pk).fault_count == 0


def test_an_offer_and_a_lease_that_still_run_are_left_alone() -> None:
    hold(make_job(), make_miner()[0])
    running()
    assert reap() == 0


def test_an_expired_lease_returns_the_job_with_what_the_visitor_saw(redis_client: Any) -> None:
    held, miner = running()
    redis_client.xadd(stream_key(held.pk), {"k": "delta", "a": 1, "o": 0, "t": "Ihr Paket "})
    change(held, lease_until=timezone.now() - SECOND)
    assert reap() == 1
    row = reload(held)
    assert (row.state, row.faults, row.tried, row.resume_text) == (JobState.QUEUED, 1, [miner.pk], "Ihr Paket ")
    attempt = attempt_of(held)
    assert (attempt.outcome, attempt.is_fault, attempt.is_blamed) == (AttemptOutcome.LEASE_EXPIRED, True, True)
    assert Miner.objects.get(pk=miner.pk).fault_count == 1


def test_a_stalled_answer_is_taken_away_although_heartbeats_go_on() -> None:
    held, _ = running(phase=JobPhase.DECODE, **ago(limits.STALL + SECOND))
    assert reap() == 1
    assert reload(held).state == JobState.QUEUED
    assert attempt_of(held).outcome == AttemptOutcome.STALLED


def test_an_answer_that_pauses_for_less_than_six_seconds_goes_on() -> None:
    running(phase=JobPhase.DECODE, **ago(limits.STALL - SECOND))
    assert reap() == 0


def test_a_long_prompt_may_be_read_for_as_long_as_it_is() -> None:
    silence = limits.PREFILL_GRACE + timedelta(seconds=5)
    short, _ = running(phase=JobPhase.PREFILL, context_tokens=10, **ago(silence))
    long, _ = running(phase=JobPhase.PREFILL, context_tokens=3000, **ago(silence))
    assert reap() == 1
    assert (reload(short).state, reload(long).state) == (JobState.QUEUED, JobState.RUNNING)


def test_a_job_that_does_not_stream_has_only_its_lease() -> None:
    running(phase=JobPhase.DECODE, stream=False, **ago(limits.STALL * 2))
    assert reap() == 0


def test_a_miner_of_the_first_protocol_is_not_watched_for_stalls() -> None:
    running(phase=JobPhase.NONE, **ago(limits.STALL * 5))
    assert reap() == 0


@pytest.mark.parametrize("is_held", [False, True])
def test_a_job_past_its_deadline_ends_wherever_it_is(is_held: bool) -> None:
    job = make_job()
    if is_held:
        job = hold(job, make_miner()[0], acked=True)
    change(job, deadline=timezone.now() - SECOND, **({"lease_until": timezone.now() + limits.LEASE} if is_held else {}))
    assert reap() == 1
    row = reload(job)
    assert (row.state, row.error_code) == (JobState.EXPIRED, "DEADLINE")
    assert not is_held or attempt_of(job).outcome == AttemptOutcome.DEADLINE


def test_a_late_job_is_not_charged_to_its_miner() -> None:
    held, miner = running()
    change(held, deadline=timezone.now() - SECOND)
    reap()
    assert Miner.objects.get(pk=miner.pk).fault_count == 0


def test_a_poison_job_fails_after_three_miners_and_exonerates_them() -> None:
    job, miners = make_job(), [make_miner()[0] for _ in range(3)]
    for miner in miners:
        held = hold(reload(job), miner, acked=True)
        change(held, lease_until=timezone.now() - SECOND)
        reap()
    row = reload(job)
    assert (row.state, row.error_code, row.faults) == (JobState.FAILED, "LEASE_EXPIRED", 3)
    assert [Miner.objects.get(pk=miner.pk).fault_count for miner in miners] == [0, 0, 0]
    with platform_scope():
        outcomes = list(Attempt.objects.filter(job=job).values_list("outcome", "is_fault", "is_blamed"))
    assert outcomes == [("lease_expired", True, False)] * 3


def test_the_first_fault_of_a_job_is_charged_to_its_miner_even_if_another_declined_it() -> None:
    job, decliner, miner = make_job(), make_miner()[0], make_miner()[0]
    change(job, tried=[decliner.pk])
    held = hold(reload(job), miner, acked=True)
    change(held, lease_until=timezone.now() - SECOND)
    reap()
    assert Miner.objects.get(pk=miner.pk).fault_count == 1


def lost(miner: Miner, job: Job | None = None) -> Job:
    """Faulted on this miner, longer ago than its second chance waits."""
    held = hold(reload(job or make_job()), miner, acked=True)
    change(held, lease_until=timezone.now() - SECOND)
    reap()
    change(held, progress_at=timezone.now() - limits.SECOND_CHANCE - SECOND)
    return reload(held)


def test_a_job_that_nobody_else_can_serve_goes_back_to_the_miner_that_lost_it() -> None:
    miner, _ = make_miner()
    make_miner(status=MinerStatus.DRAINING)
    make_miner(max_context=64)
    job = lost(miner)
    assert job.tried == [miner.pk]
    assert reap() == 1
    assert reload(job).tried == []
    lost(miner, job)
    reap()
    assert lost(miner, job).state == JobState.FAILED
    assert Miner.objects.get(pk=miner.pk).fault_count == 3, "no other miner shows that the job is to blame"


def test_a_job_that_another_miner_can_serve_waits_for_that_one() -> None:
    miner, _ = make_miner()
    job = lost(miner)
    make_miner(slots_free=0, status=MinerStatus.BUSY)
    assert reap() == 0
    assert reload(job).tried == [miner.pk]


def test_two_reapers_charge_one_fault() -> None:
    held, miner = running()
    change(held, lease_until=timezone.now() - SECOND)
    assert reap() + reap() == 1
    assert Miner.objects.get(pk=miner.pk).fault_count == 1


def test_a_job_that_another_session_holds_is_left_for_the_next_round() -> None:
    held, _ = running()
    change(held, lease_until=timezone.now() - SECOND)
    rival = connection.copy()
    try:
        with rival.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT set_config('app.platform', 'on', true)")
            cursor.execute("SELECT 1 FROM miners_job WHERE id = %s FOR UPDATE", [held.pk])
            assert reap() == 0
            cursor.execute("ROLLBACK")
    finally:
        rival.close()
    assert reap() == 1


def test_without_redis_a_faulted_job_starts_over(embedded_redis: Any) -> None:
    held, _ = running()
    change(held, lease_until=timezone.now() - SECOND)
    embedded_redis.crash()
    assert reap() == 1
    assert reload(held).resume_text == ""


def test_silent_miners_are_offline_after_twenty_seconds() -> None:
    now = timezone.now()
    silent, _ = make_miner(last_active=now - limits.MINER_OFFLINE - SECOND)
    heard, _ = make_miner(last_active=now - limits.MINER_OFFLINE + 5 * SECOND)
    assert reaper.mark_silent_miners(now=now) == 1
    statuses = dict(Miner.objects.values_list("pk", "status"))
    assert statuses == {silent.pk: MinerStatus.OFFLINE, heard.pk: MinerStatus.IDLE}
    assert Miner.objects.get(pk=silent.pk).slots_free == 0


def test_a_returned_job_wakes_dispatch(redis_client: Any) -> None:
    held = hold(make_job(), make_miner()[0])
    change(held, lease_until=timezone.now() - SECOND)
    with redis_client.pubsub(ignore_subscribe_messages=True) as wakes:
        wakes.subscribe("mia:topic:network:wake")
        wakes.get_message(timeout=1)
        reap()
        assert wakes.get_message(timeout=2) is not None


def test_nothing_is_left_in_redis_by_looking(redis_client: Any) -> None:
    held, _ = running()
    change(held, lease_until=timezone.now() - SECOND)
    reap()
    assert not redis_client.exists(state_key(held.pk), stream_key(held.pk))
