"""The guarded statements one by one: each touches its own attempt's job and nothing else."""

from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import fencing, limits
from miners.choices import AttemptOutcome, JobState
from miners.models import Attempt, Job
from miners.tests.factories import hold, make_job, make_miner, reload

pytestmark = pytest.mark.django_db


def execute(sql: str, **parameters: Any) -> list[dict[str, Any]]:
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        names = [column.name for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def renew(job: Job, *, fence: int | None = None, miner: int | None = None, phase: str = "") -> dict[str, Any]:
    (row,) = execute(
        fencing.RENEW,
        jobs=[job.pk],
        fences=[job.fence if fence is None else fence],
        phases=[phase],
        progressed=[False],
        miner=job.miner_id if miner is None else miner,
        lease=limits.LEASE,
        idle_lease=limits.IDLE_LEASE,
    )
    return row


def fault(job: Job, *, miner: int | None = None) -> bool:
    rows = execute(
        fencing.FAULT,
        job=job.pk,
        fence=job.fence,
        miner=miner,
        reason="",
        resume_text="so far",
        most_faults=3,
        error_code="LEASE_EXPIRED",
    )
    return bool(rows)


def test_an_offer_draws_a_higher_fence_than_any_before() -> None:
    first, second = hold(make_job(), make_miner()[0]), hold(make_job(), make_miner()[0])
    assert second.fence > first.fence
    with platform_scope():
        assert Attempt.objects.get(pk=first.fence).number == 1


def test_an_offer_takes_only_queued_jobs() -> None:
    held = hold(make_job(), make_miner()[0])
    with pytest.raises(AssertionError):
        hold(held, make_miner()[0])
    assert reload(held).fence == held.fence


def test_renewing_acknowledges_and_moves_the_lease() -> None:
    held = hold(make_job(), make_miner()[0])
    assert renew(held)["renewed"]
    row = reload(held)
    assert row.state == JobState.RUNNING
    assert row.lease_until - timezone.now() > limits.LEASE * 0.9
    with platform_scope():
        assert Attempt.objects.get(pk=held.fence).acked_at is not None


@pytest.mark.parametrize("lie", [{"fence": 1}, {"miner": 0}])
def test_a_lie_renews_nothing(lie: dict[str, int]) -> None:
    held = hold(make_job(), make_miner()[0])
    row = renew(held, **lie)
    assert (row["renewed"], row["was_mine"]) == (False, False)
    assert reload(held).state == JobState.OFFERED


def test_an_unknown_job_is_answered_and_not_an_error() -> None:
    held = hold(make_job(), make_miner()[0])
    held.pk = UUID(int=7)
    assert renew(held) | {"renewed": False, "state": None, "was_mine": False} == renew(held)


def test_a_job_past_its_deadline_is_not_renewed() -> None:
    held = hold(make_job(), make_miner()[0])
    with platform_scope():
        Job.objects.filter(pk=held.pk).update(deadline=timezone.now() - limits.CHAT_DEADLINE)
    assert not renew(held)["renewed"]


def test_re_adoption_takes_the_fault_back() -> None:
    miner = make_miner()[0]
    held = hold(make_job(), miner, acked=True)
    assert fault(held)
    assert (reload(held).faults, reload(held).tried) == (1, [miner.pk])
    assert renew(held)["renewed"]
    row = reload(held)
    assert (row.state, row.faults, row.tried, row.fault_fence) == (JobState.RUNNING, 0, [], None)


def test_a_job_that_went_elsewhere_is_not_re_adopted() -> None:
    held = hold(make_job(), make_miner()[0], acked=True)
    assert fault(held)
    elsewhere = hold(reload(held), make_miner()[0])
    assert not renew(held)["renewed"]
    assert reload(held).fence == elsewhere.fence


def test_an_attempt_that_its_miner_gave_up_is_not_re_adopted() -> None:
    held = hold(make_job(), make_miner()[0], acked=True)
    assert fault(held, miner=held.miner_id)
    assert not renew(held)["renewed"]
    assert reload(held).state == JobState.QUEUED


def test_another_miner_cannot_fault_an_attempt() -> None:
    held = hold(make_job(), make_miner()[0], acked=True)
    assert not fault(held, miner=make_miner()[0].pk)
    assert reload(held).faults == 0


def test_the_third_fault_is_the_last() -> None:
    job = make_job()
    for faults in (1, 2, 3):
        assert fault(hold(reload(job), make_miner()[0], acked=True))
        row = reload(job)
        assert row.faults == faults
    assert (row.state, row.error_code) == (JobState.FAILED, "LEASE_EXPIRED")
    assert row.finished_at is not None


def test_taking_back_touches_only_what_was_not_heard_of_since() -> None:
    held, gone = hold(make_job(), make_miner()[0]), hold(make_job(), make_miner()[0], acked=True)
    assert fault(gone)
    rows = execute(fencing.TAKE_BACK, fences=[held.fence, gone.fence])
    assert [row["fence"] for row in rows] == [held.fence]
    assert reload(held).state == JobState.QUEUED
    with platform_scope():
        assert Attempt.objects.get(pk=held.fence).outcome == AttemptOutcome.OFFER_EXPIRED


def test_a_first_protocol_job_is_taken_back_although_it_counts_as_running() -> None:
    held = hold(make_job(), make_miner(agent="")[0], acked=True)
    assert execute(fencing.TAKE_BACK, fences=[held.fence])
    assert reload(held).state == JobState.QUEUED


def test_phases_restart_the_stall_watch_only_when_they_change() -> None:
    held = hold(make_job(), make_miner()[0])
    renew(held, phase="prefill")
    began = reload(held).progress_at
    renew(held, phase="prefill")
    assert reload(held).progress_at == began
    renew(held, phase="decode")
    assert reload(held).progress_at > began


@pytest.mark.parametrize(("kind", "seconds"), [("chat", 15), ("idle", 60), ("canary", 15)])
def test_only_idle_jobs_have_the_long_lease(kind: str, seconds: int) -> None:
    held = hold(make_job(kind=kind, lane=0 if kind == "chat" else 2), make_miner()[0])
    renew(held)
    left = (reload(held).lease_until - timezone.now()).total_seconds()
    assert seconds - 3 < left <= seconds


def test_the_database_keeps_a_second_attempt_from_being_accepted() -> None:
    job = make_job()
    held = hold(job, make_miner()[0], acked=True)
    assert fault(held)
    again = hold(reload(job), make_miner()[0], acked=True)
    with platform_scope(), transaction.atomic(), pytest.raises(IntegrityError):
        Attempt.objects.filter(pk__in=[held.fence, again.fence]).update(outcome=AttemptOutcome.ACCEPTED)
        transaction.set_rollback(True)


@pytest.mark.parametrize("broken", [{"state": "running"}, {"state": "completed"}, {"state": "lost"}])
def test_the_database_refuses_states_that_cannot_be(broken: dict[str, str]) -> None:
    job = make_job()
    with platform_scope(), pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.filter(pk=job.pk).update(**broken)
