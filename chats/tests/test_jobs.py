"""GET /job/{job_id}/result and DELETE /job/{job_id}: the truth about a job."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from chats.tests.callers import Caller, job_of, logs_of
from miners.choices import JobState
from miners.models import Job
from miners.results import Result, accept_result
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db


def set_state(reply: dict[str, object], state: JobState) -> None:
    miner, _ = make_miner()
    is_held = state in {JobState.OFFERED, JobState.RUNNING}
    is_live = is_held or state == JobState.QUEUED
    with platform_scope():
        Job.objects.filter(pk=reply["job_id"]).update(
            state=state,
            miner=miner if is_held else None,
            fence=1 if is_held else None,
            lease_until=timezone.now() + timedelta(seconds=15) if is_held else None,
            finished_at=None if is_live else timezone.now(),
            output="Thirty." if state == JobState.COMPLETED else "",
        )


@pytest.mark.parametrize(
    ("state", "status"),
    [
        (JobState.QUEUED, "queued"),
        (JobState.OFFERED, "processing"),
        (JobState.RUNNING, "processing"),
        (JobState.COMPLETED, "completed"),
        (JobState.FAILED, "failed"),
        (JobState.CANCELLED, "cancelled"),
        (JobState.EXPIRED, "expired"),
    ],
)
def test_the_status_is_what_the_database_says(visitor: Caller, state: JobState, status: str) -> None:
    reply = visitor.asked()
    set_state(reply, state)
    shown = visitor.get(reply["poll_url"]).json()
    assert (shown["job_id"], shown["status"]) == (reply["job_id"], status)
    assert (shown["result"] is None) == (state != JobState.COMPLETED)


def test_a_finished_job_shows_its_answer(visitor: Caller) -> None:
    reply = visitor.asked()
    set_state(reply, JobState.COMPLETED)
    result = visitor.get(reply["poll_url"]).json()["result"]
    assert set(result) == {"response", "tool_calls", "citations", "tokens_generated", "processing_time"}
    assert (result["response"], result["tool_calls"], result["citations"]) == ("Thirty.", None, [])


def test_an_unknown_job_is_not_found(server: Caller) -> None:
    assert server.get(f"/job/{uuid.uuid4()}/result").status_code == 404
    assert server.delete(f"/job/{uuid.uuid4()}").status_code == 404


def test_a_cancelled_job_ends_and_leaves_a_note(visitor: Caller) -> None:
    reply = visitor.asked()
    response = visitor.delete(f"/job/{reply['job_id']}")
    assert (response.status_code, response.json()["status"]) == (200, "cancelled")
    assert job_of(reply).state == JobState.CANCELLED
    assert [log.role for log in logs_of(reply)] == ["user", "system"]


def test_cancelling_twice_or_too_late_changes_nothing(visitor: Caller) -> None:
    reply = visitor.asked()
    set_state(reply, JobState.COMPLETED)
    assert visitor.delete(f"/job/{reply['job_id']}").json()["status"] == "completed"
    assert job_of(reply).state == JobState.COMPLETED


def test_a_miners_result_is_found_by_its_job(visitor: Caller) -> None:
    reply = visitor.asked()
    miner, _ = make_miner()
    set_state(reply, JobState.QUEUED)
    with platform_scope():
        from miners.models import Attempt

        now = timezone.now()
        Job.objects.update(
            state=JobState.RUNNING, miner=miner, fence=77, lease_until=now + timedelta(seconds=9), started_at=now
        )
        Attempt.objects.create(fence=77, job=job_of(reply), miner=miner, number=1, offered_at=now)
    result = Result(job_id=uuid.UUID(reply["job_id"]), fence=77, output="Thirty.", tokens_generated=3)
    accept_result(miner=miner, result=result, now=timezone.now())
    shown = visitor.get(reply["poll_url"]).json()
    assert (shown["status"], shown["result"]["response"]) == ("completed", "Thirty.")
    assert shown["result"]["tokens_generated"] == 3
