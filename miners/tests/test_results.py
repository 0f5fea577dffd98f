"""How answers, failures and refusals are taken, through the view that miners call."""

import hashlib
import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.tenancy import platform_scope
from accounts.tests.factories import BusinessFactory
from mia.lib.redis import sync_redis
from miners import services
from miners.choices import AttemptOutcome, JobState, Lane, Trust
from miners.fairness import counters_key
from miners.models import Attempt, Job, Miner
from miners.results import fault
from miners.services import Result
from miners.signals import job_finished
from miners.tests.factories import hold, make_job, make_miner, reload

pytestmark = pytest.mark.django_db(transaction=True)


class Holder:
    """A miner with a job in its hands."""

    def __init__(self, *, acked: bool = True, **fields: Any) -> None:
        self.miner, self.key = make_miner(**fields)
        self.job = hold(make_job(), self.miner, acked=acked)

    def submit(self, key: str = "", **fields: Any) -> Any:
        body = {
            "job_id": str(self.job.pk),
            "fence": str(self.job.fence),
            "output": "An answer.",
            "miner_id": self.miner.pk,
            "success": True,
            "tokens_generated": 3,
            **fields,
        }
        return post("/job/result", key or self.key, {name: body[name] for name in body if body[name] is not ...})

    def row(self) -> Job:
        return reload(self.job)


def post(path: str, key: str, body: Any) -> Any:
    return Client().post(path, body, content_type="application/json", headers={"authorization": f"Bearer {key}"})


def refused(reply: Any) -> tuple[int, str]:
    assert set(reply.json()) == {"detail", "error_code", "timestamp"}
    return reply.status_code, reply.json()["error_code"]


def test_an_answer_completes_the_job_and_credits_its_attempt() -> None:
    holder = Holder()
    reply = holder.submit(usage={"prompt_tokens": 7, "completion_tokens": 3}, timing={"decode_ms": 12.5})
    assert reply.status_code == 200
    assert reply.json() == {
        "job_id": str(holder.job.pk),
        "status": "completed",
        "message": "Result submitted successfully",
        "accepted": True,
        "duplicate": False,
    }
    row = holder.row()
    assert (row.state, row.output, row.tokens_generated, row.prompt_tokens) == (JobState.COMPLETED, "An answer.", 3, 7)
    with platform_scope():
        attempt = Attempt.objects.get(pk=row.fence)
    assert (attempt.outcome, attempt.timing, attempt.tokens_reported) == ("accepted", {"decode_ms": 12.5}, 3)
    miner = Miner.objects.get(pk=holder.miner.pk)
    assert (miner.job_count, miner.total_tokens_generated) == (1, 3)


def test_a_repeat_is_told_so_and_changes_nothing() -> None:
    holder = Holder()
    holder.submit()
    reply = holder.submit(output="Another answer.")
    assert (reply.status_code, reply.json()["duplicate"], reply.json()["accepted"]) == (200, True, True)
    assert holder.row().output == "An answer."
    assert Miner.objects.get(pk=holder.miner.pk).job_count == 1


def test_an_answer_that_was_never_acknowledged_first_is_taken_too() -> None:
    holder = Holder(acked=False)
    assert holder.submit().status_code == 200
    assert holder.row().started_at is not None


def test_a_damaged_answer_is_asked_for_again() -> None:
    holder = Holder()
    digest = hashlib.sha256(b"An ansver.").hexdigest()
    assert refused(holder.submit(output_sha256=digest)) == (412, "CHECKSUM_MISMATCH")
    assert holder.row().state == JobState.RUNNING
    right = hashlib.sha256(b"An answer.").hexdigest().upper()
    assert holder.submit(output_sha256=right).status_code == 200


def test_a_late_answer_for_a_job_that_went_elsewhere_is_refused() -> None:
    late = Holder()
    expire(late)
    elsewhere, _ = make_miner()
    hold(reload(late.job), elsewhere, acked=True)
    assert refused(late.submit()) == (409, "LEASE_LOST")
    assert late.row().state == JobState.RUNNING


def test_a_late_answer_for_a_job_that_waits_is_taken_and_its_fault_forgiven() -> None:
    late = Holder()
    expire(late)
    assert Miner.objects.get(pk=late.miner.pk).fault_count == 1
    assert late.submit().status_code == 200
    row = late.row()
    assert (row.state, row.faults, row.error_message) == (JobState.COMPLETED, 0, "")
    assert Miner.objects.get(pk=late.miner.pk).fault_count == 0


def expire(holder: Holder) -> None:
    assert holder.job.fence is not None
    outcome = AttemptOutcome.LEASE_EXPIRED
    with platform_scope():
        assert fault(holder.job.pk, holder.job.fence, outcome, reason="", resume_text="so far", now=timezone.now())


@pytest.mark.parametrize(
    ("ending", "code"),
    [(JobState.CANCELLED, "CANCELLED"), (JobState.EXPIRED, "EXPIRED"), (JobState.FAILED, "LEASE_LOST")],
)
def test_an_answer_for_a_job_that_is_over_is_refused_with_the_reason(ending: JobState, code: str) -> None:
    holder = Holder()
    with platform_scope():
        Job.objects.filter(pk=holder.job.pk).update(state=ending, finished_at=timezone.now())
    assert refused(holder.submit()) == (409 if code == "LEASE_LOST" else 410, code)


def test_a_stranger_is_not_the_holder_and_three_lies_make_a_suspect() -> None:
    holder = Holder()
    liar, key = make_miner()
    for _ in range(3):
        assert refused(holder.submit(key, miner_id=liar.pk)) == (403, "NOT_THE_HOLDER")
    assert holder.row().state == JobState.RUNNING
    assert Miner.objects.get(pk=liar.pk).trust == Trust.SUSPECT


def test_a_forged_fence_of_the_holder_itself_is_refused() -> None:
    holder = Holder()
    assert holder.job.fence is not None
    assert refused(holder.submit(fence=str(holder.job.fence + 1))) == (403, "NOT_THE_HOLDER")


def test_a_forged_failure_does_not_touch_the_attempt_of_another_miner() -> None:
    """A miner that lost a job knows its id, and fences can be guessed."""
    holder = Holder()
    liar, key = make_miner()
    for status in ("error", "refused"):
        assert refused(holder.submit(key, miner_id=liar.pk, status=status)) == (403, "NOT_THE_HOLDER")
    row = holder.row()
    assert (row.state, row.faults) == (JobState.RUNNING, 0)
    assert Miner.objects.get(pk=holder.miner.pk).fault_count == 0
    assert Miner.objects.get(pk=liar.pk).forgery_count == 2


def test_an_unknown_job_is_not_found() -> None:
    assert refused(Holder().submit(job_id=str(uuid4()))) == (404, "NOT_FOUND")


def test_a_miner_cannot_speak_for_another() -> None:
    holder = Holder()
    assert refused(holder.submit(miner_id=holder.miner.pk + 1))[0] in {403, 404}
    assert holder.row().state == JobState.RUNNING


def test_without_a_fence_the_key_and_the_present_lease_decide() -> None:
    holder = Holder(agent="")
    stranger = make_miner(agent="")
    assert refused(holder.submit(stranger[1], miner_id=stranger[0].pk, fence=...)) == (403, "NOT_THE_HOLDER")
    assert holder.submit(fence=..., session_id=str(holder.job.pk)).status_code == 200


def test_an_engines_error_is_never_an_answer() -> None:
    holder = Holder()
    error = {"code": "OOM", "retryable": True, "message": "CUDA out of memory"}
    reply = holder.submit(status="error", success=False, output="CUDA out of memory", error=error)
    assert (reply.status_code, reply.json()["accepted"], reply.json()["status"]) == (200, False, "queued")
    row = holder.row()
    assert (row.output, row.faults, row.tried) == ("", 1, [holder.miner.pk])
    with platform_scope():
        attempt = Attempt.objects.get(pk=holder.job.fence)
    assert (attempt.outcome, attempt.reason) == ("error", "OOM: CUDA out of memory")


def test_a_first_protocol_failure_is_a_failure() -> None:
    holder = Holder(agent="")
    assert holder.submit(fence=..., success=False, output="boom").json()["status"] == "queued"
    assert holder.row().output == ""


def test_a_declined_job_goes_elsewhere_without_a_fault() -> None:
    holder = Holder()
    assert holder.submit(status="refused", success=False).json()["status"] == "queued"
    row = holder.row()
    assert (row.faults, row.tried) == (0, [holder.miner.pk])
    with platform_scope():
        attempt = Attempt.objects.get(pk=holder.job.fence)
    assert attempt.outcome == AttemptOutcome.REFUSED
    assert attempt.ended_at is not None
    assert attempt.ended_at > attempt.offered_at
    assert Miner.objects.get(pk=holder.miner.pk).fault_count == 0


def test_three_engine_errors_fail_the_job() -> None:
    holder = Holder()
    holder.submit(status="error")
    for _ in range(2):
        miner, key = make_miner()
        held = hold(reload(holder.job), miner, acked=True)
        holder.submit(key, status="error", miner_id=miner.pk, fence=str(held.fence))
    assert (holder.row().state, holder.row().error_code) == (JobState.FAILED, "ENGINE_ERROR")
    assert Miner.objects.get(pk=holder.miner.pk).fault_count == 0, "a job that faults on two miners is to blame itself"


@pytest.mark.parametrize(("reported", "counted"), [(1_000_000, 10), (0, 3), (4, 4)])
def test_tokens_are_never_more_than_the_text_can_hold(reported: int, counted: int) -> None:
    holder = Holder()
    holder.submit(tokens_generated=reported)
    assert holder.row().tokens_generated == counted


@pytest.mark.parametrize(
    "wrong",
    [
        {"job_id": "no-uuid"},
        {"fence": -1},
        {"fence": 2**63},
        {"tokens_generated": -1},
        {"tokens_generated": True},
        {"timing": {"decode_ms": "NaN"}},
        {"timing": {"decode_ms": "Infinity"}},
        {"status": "fine"},
        {"tool_calls": "none"},
        {"usage": {"prompt_tokens": -5}},
        {"output_sha256": "0" * 65},
        {"error": "text", "status": "error"},
    ],
)
def test_a_malformed_result_is_refused_and_nothing_written(wrong: dict[str, Any]) -> None:
    holder = Holder()
    assert refused(holder.submit(**wrong)) == (400, "INVALID_REQUEST")
    assert holder.row().state == JobState.RUNNING


def test_of_simultaneous_results_one_is_accepted() -> None:
    for _ in range(5):
        holder = Holder()
        replies = [reply.json() for reply in at_once([holder.submit] * 4)]
        assert sorted(reply["duplicate"] for reply in replies) == [False, True, True, True]
        assert Miner.objects.get(pk=holder.miner.pk).job_count == 1


def at_once(calls: list[Callable[[], Any]]) -> list[Any]:
    replies: list[Any] = []

    def call(one: Callable[[], Any]) -> None:
        replies.append(one())
        connection.close()

    threads = [threading.Thread(target=call, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return replies


def test_the_end_and_what_follows_from_it_are_one_transaction() -> None:
    """A receiver that fails takes the answer back with it; the miner sends it again."""
    holder = Holder()

    def fails(**_: Any) -> None:
        raise ZeroDivisionError

    job_finished.connect(fails)
    try:
        assert refused(holder.submit()) == (500, "SERVER_ERROR")
    finally:
        job_finished.disconnect(fails)
    assert holder.row().state == JobState.RUNNING
    assert holder.submit().json()["duplicate"] is False


def test_every_ending_is_told_once() -> None:
    heard: list[tuple[Any, str]] = []

    def hears(*, job: Job, **_: Any) -> None:
        heard.append((job.pk, job.state))

    job_finished.connect(hears)
    try:
        done, gone = Holder(), make_job()
        done.submit()
        done.submit()
        assert services.cancel_job(job=gone, now=timezone.now())
        assert not services.cancel_job(job=gone, now=timezone.now())
    finally:
        job_finished.disconnect(hears)
    assert heard == [(done.job.pk, "completed"), (gone.pk, "cancelled")]


def test_cancelling_ends_an_attempt_that_began_after_the_job_was_read() -> None:
    miner, _ = make_miner()
    seen_queued = make_job()
    held = hold(reload(seen_queued), miner)
    assert services.cancel_job(job=seen_queued, now=timezone.now())
    with platform_scope():
        assert Attempt.objects.get(pk=held.fence).outcome == AttemptOutcome.CANCELLED


def test_a_tenant_pays_for_what_its_job_really_cost() -> None:
    miner, _ = make_miner()
    business = BusinessFactory().pk
    job = make_job(business_id=business, max_tokens=1000)
    held = hold(job, miner, acked=True)
    charged = int(sync_redis().hget(counters_key(Lane.CHAT), str(business)))
    services.accept_result(
        miner=miner,
        result=Result(job_id=job.pk, fence=held.fence, output="x" * 40, tokens_generated=10),
        now=timezone.now(),
    )
    spent = int(sync_redis().hget(counters_key(Lane.CHAT), str(business)))
    assert charged - spent == 2 * (1000 - 10)
