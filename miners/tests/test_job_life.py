"""A job's whole life against a model: every order of claims, words, silences, results and refusals, on PostgreSQL."""

import asyncio
import itertools
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.db.models import Count, Q
from django.utils import timezone
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from accounts.tenancy import platform_scope
from mia.lib.errors import ApplicationError
from miners import consumers, dispatch, reaper
from miners.choices import LIVE_STATES, TERMINAL_STATES, AttemptOutcome, JobState
from miners.matching import Seat
from miners.models import Attempt, Job, Miner
from miners.profiles import authenticate
from miners.services import Failure, Result, accept_result, cancel_job, report_failure
from miners.streams import read_text
from miners.tests.factories import make_job, make_miner
from miners.tests.lane import Lane, platform

pytestmark = pytest.mark.django_db(transaction=True)

EXAMPLES = int(os.environ.get("JOB_LIFE_EXAMPLES", "30"))
STEPS = 40
WORDS = st.text("aé📦 ", min_size=1, max_size=4)

ALLOWED = {
    JobState.QUEUED: {*LIVE_STATES, *TERMINAL_STATES},
    JobState.OFFERED: {*LIVE_STATES, *TERMINAL_STATES},
    JobState.RUNNING: {*LIVE_STATES, *TERMINAL_STATES},
    **{state: {state} for state in TERMINAL_STATES},
}

# However slow the machine is, time passes only where a rule says so.
STAND_STILL = """
UPDATE miners_job SET lease_until = now() + interval '1 minute', progress_at = now()
WHERE state IN ('offered', 'running')
"""
EXPIRE_LEASE = "UPDATE miners_job SET lease_until = now() - interval '1 s' WHERE id = %s"
STALL = "UPDATE miners_job SET phase = 'decode', progress_at = now() - interval '7 s' WHERE id = %s"
PASS_DEADLINE = "UPDATE miners_job SET deadline = now() - interval '1 s' WHERE id = %s"


@dataclass
class ModelJob:
    """What the job must look like."""

    id: UUID
    virtual_start: int
    state: str = JobState.QUEUED
    fence: int | None = None
    holder: int | None = None
    faults: int = 0
    faulted_fence: int | None = None
    tried: set[int] = field(default_factory=set)
    output: str = ""
    shown: str = ""
    writer: int | None = None
    is_closed: bool = False

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_STATES

    def is_held_under(self, fence: int, miner: int) -> bool:
        return self.fence == fence and self.holder == miner

    def take_fault_back(self, *, and_try_again: bool) -> None:
        if self.state == JobState.QUEUED and self.faulted_fence == self.fence:
            self.faults -= 1
            if and_try_again:
                self.tried.discard(self.holder or 0)

    def fault(self, *, gives_up: bool) -> None:
        self.faults += 1
        self.tried.add(self.holder or 0)
        self.faulted_fence = self.fence
        self.state = JobState.FAILED if self.faults >= 3 else JobState.QUEUED
        self.is_closed = self.state == JobState.FAILED
        if gives_up:
            self.fence = None

    def end(self, state: str) -> None:
        self.state, self.is_closed = state, True


@dataclass
class ModelAttempt:
    """An offer as its miner remembers it, and what it has written so far."""

    job: ModelJob
    miner: Miner
    fence: int
    resume_text: str
    own: str = ""
    has_spoken: bool = False

    @property
    def wire(self) -> dict[str, Any]:
        return {"job_id": str(self.job.id), "fence": str(self.fence)}


def _by_fence(offers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Offers of one claim in the order in which they were made."""
    return sorted(offers, key=lambda offer: int(offer["fence"]))


class JobLife(RuleBasedStateMachine):
    """Rules are what anyone may do at any time; each asserts the reply that the model predicts."""

    jobs = Bundle("jobs")
    attempts = Bundle("attempts")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.model: dict[UUID, ModelJob] = {}
        self.before: dict[UUID, str] = {}
        self.known: set[tuple[UUID, int, int]] = set()

    @initialize()
    def open(self) -> None:
        self.platform = platform()
        self.runner.run(self.platform.__aenter__())
        self.miners = [make_miner(slots=2) for _ in range(4)]

    def teardown(self) -> None:
        self.runner.run(self.platform.__aexit__(None, None, None))
        self.runner.close()
        with platform_scope():
            Job.objects.all().delete()

    # --- Rules

    @precondition(lambda self: sum(job.is_live for job in self.model.values()) < 4)
    @rule(target=jobs)
    def submit(self) -> ModelJob:
        row = make_job()
        job = self.model[row.pk] = ModelJob(row.pk, row.virtual_start)
        return job

    @rule(target=attempts, who=st.integers(0, 3), slots=st.integers(1, 2))
    def claim(self, who: int, slots: int) -> Any:
        miner, key = self.miners[who]
        queued = sorted(
            (job for job in self.model.values() if job.state == JobState.QUEUED and miner.pk not in job.tried),
            key=lambda job: job.virtual_start,
        )
        # A poll that will not wait is let go after a second, which a busy machine may need for one claim.
        offers = self.runner.run(Lane(key).next(wait=10 if queued else 0, slots=slots))
        assert [offer["job_id"] for offer in offers] == [str(job.id) for job in queued[:slots]]
        return multiple(
            *[self._note_offer(miner, UUID(o["job_id"]), int(o["fence"]), o["resume_text"]) for o in _by_fence(offers)]
        )

    @rule(target=attempts, pair=st.sampled_from([(0, 1), (2, 3), (1, 2)]))
    def two_claim_at_once(self, pair: tuple[int, int]) -> Any:
        async def race() -> list[dispatch.Claimed]:
            profiles = [await authenticate(self.miners[who][1]) for who in pair]
            return await asyncio.gather(*[dispatch.claim([Seat(profile, 2, idle=True)]) for profile in profiles])

        claimed = self.runner.run(race())
        given = [offer for one in claimed for _, offer in one.offers]
        assert len({offer["id"] for offer in given}) == len(given), "one job went to two miners"
        by_id = {miner.pk: miner for miner, _ in self.miners}
        return multiple(
            *[self._note_offer(by_id[o["miner_id"]], o["id"], o["fence"], o["resume_text"]) for o in _by_fence(given)]
        )

    @rule(attempt=attempts, phase=st.sampled_from(["prefill", "decode"]))
    def beat(self, attempt: ModelAttempt, phase: str) -> None:
        expected = self._verdict(attempt)
        lane = Lane(self._key(attempt.miner))
        said = self.runner.run(lane.beat((str(attempt.job.id), str(attempt.fence), phase)))
        assert said == [expected]

    @rule(attempt=attempts, words=WORDS, starts_over=st.booleans())
    def chunk(self, attempt: ModelAttempt, words: str, starts_over: bool) -> None:
        job = attempt.job
        if not attempt.has_spoken:
            attempt.own, attempt.has_spoken = ("" if starts_over else attempt.resume_text), True
        is_writer = job.writer == attempt.fence
        expected = "cancel" if job.is_closed else self._verdict(attempt) if is_writer else "lost"
        consumers._renewed_at.clear()
        reply = self.runner.run(Lane(self._key(attempt.miner)).chunk(attempt.wire, len(attempt.own), words))
        assert reply["verdict"] == expected
        if is_writer and not job.is_closed:
            attempt.own += words
            job.shown = attempt.own
            if expected == "ok":
                assert reply["next_offset"] == len(attempt.own)

    @rule(attempt=attempts, offset=st.integers(0, 9))
    def chunk_elsewhere(self, attempt: ModelAttempt, offset: int) -> None:
        """A gap or an overlap changes nothing and says where to go on."""
        job = attempt.job
        if not attempt.has_spoken or job.writer != attempt.fence or job.is_closed or offset == len(attempt.own):
            return
        expected = self._verdict(attempt)
        consumers._renewed_at.clear()
        reply = self.runner.run(Lane(self._key(attempt.miner)).chunk(attempt.wire, offset, "?"))
        assert reply["verdict"] == ("range" if expected == "ok" else expected)
        assert reply["next_offset"] == len(attempt.own)

    @rule(attempt=attempts, tail=st.sampled_from(["", " end"]))
    def result(self, attempt: ModelAttempt, tail: str) -> None:
        self._hand_in(attempt, attempt.miner, attempt.fence, attempt.own + tail)

    @rule(attempt=attempts, who=st.integers(0, 3), shift=st.sampled_from([-1, 0, 1, 7]))
    def forge(self, attempt: ModelAttempt, who: int, shift: int) -> None:
        miner, fence = self.miners[who][0], attempt.fence + shift
        if (attempt.job.id, fence, miner.pk) in self.known:
            return
        self._hand_in(attempt, miner, fence, "forged")
        assert self._fail(attempt.job, miner, fence, failure=Failure.ERROR) == "NOT_THE_HOLDER"
        Miner.objects.filter(pk=miner.pk).update(forgery_count=0)  # A third one would make it a suspect.

    @rule(attempt=attempts, failure=st.sampled_from(Failure))
    def give_up(self, attempt: ModelAttempt, failure: Failure) -> None:
        job = attempt.job
        is_held = job.is_held_under(attempt.fence, attempt.miner.pk)
        can = is_held and job.state in {JobState.OFFERED, JobState.RUNNING}
        expected = "" if can else self._refusal(job, attempt.miner.pk, attempt.fence)
        reply = self._fail(job, attempt.miner, attempt.fence, failure=failure)
        assert reply == ("" if expected == "duplicate" else expected)
        if can and failure != Failure.ERROR:
            job.tried.add(attempt.miner.pk)
            job.state, job.fence = JobState.QUEUED, None
        elif can:
            job.fault(gives_up=True)

    @rule(job=jobs)
    def cancel(self, job: ModelJob) -> None:
        assert cancel_job(job=self._row(job), now=timezone.now()) is job.is_live
        if job.is_live:
            job.end(JobState.CANCELLED)

    @rule(job=jobs, how=st.sampled_from([EXPIRE_LEASE, STALL]))
    def fall_silent(self, job: ModelJob, how: str) -> None:
        if job.state not in {JobState.OFFERED, JobState.RUNNING} or (how == STALL and job.state == JobState.OFFERED):
            return
        self._jump(how, job)
        assert reaper.reap(now=timezone.now()) == 1
        if job.state == JobState.OFFERED:
            job.state = JobState.QUEUED
        else:
            job.fault(gives_up=False)

    @rule(attempt=attempts)
    def speak_just_before_the_reaper(self, attempt: ModelAttempt) -> None:
        job = attempt.job
        if job.state not in {JobState.OFFERED, JobState.RUNNING} or self._verdict_only(attempt) != "ok":
            return
        self._jump(EXPIRE_LEASE, job)
        self.beat(attempt, "decode")
        assert reaper.reap(now=timezone.now()) == 0

    @rule(job=jobs)
    def reach_the_deadline(self, job: ModelJob) -> None:
        if job.is_live:
            self._jump(PASS_DEADLINE, job)
            assert reaper.reap(now=timezone.now()) == 1
            job.end(JobState.EXPIRED)

    @rule(attempt=attempts, other=st.sampled_from(["result", "cancel", "reap", "error"]))
    def two_speak_at_once(self, attempt: ModelAttempt, other: str) -> None:
        """A result races with another result, a cancellation, the reaper or an error: one of them decides."""
        job = attempt.job
        if job.state != JobState.RUNNING or not job.is_held_under(attempt.fence, attempt.miner.pk):
            return
        if other == "reap":
            self._jump(EXPIRE_LEASE, job)
        row = self._row(job)
        rivals: dict[str, Callable[[], Any]] = {
            "result": lambda: self._submit(job, attempt.miner, attempt.fence, attempt.own),
            "cancel": lambda: cancel_job(job=row, now=timezone.now()),
            "reap": lambda: reaper.reap(now=timezone.now()),
            "error": lambda: self._fail(job, attempt.miner, attempt.fence, failure=Failure.ERROR),
        }
        first, second = at_once(rivals["result"], rivals[other])
        self._settle_race(job, attempt, other, first, second)

    def _settle_race(self, job: ModelJob, attempt: ModelAttempt, other: str, first: str, second: Any) -> None:
        if first in {"accepted", "duplicate"}:
            lost = {"result": {"accepted", "duplicate"}, "cancel": {False}, "reap": {0, 1}, "error": {""}}[other]
            assert second in lost
            assert (first, second) != ("duplicate", "duplicate")
            job.output, job.shown = attempt.own, attempt.own
            job.end(JobState.COMPLETED)
        else:
            assert (other, first, second) in {("cancel", "CANCELLED", True), ("error", "LEASE_LOST", "")}
            job.end(JobState.CANCELLED) if other == "cancel" else job.fault(gives_up=True)

    # --- What must always hold

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        with platform_scope():
            rows = {row.pk: row for row in Job.objects.all()}
        assert rows.keys() == self.model.keys()
        for job in self.model.values():
            row = rows[job.id]
            assert (row.state, row.fence, row.faults) == (job.state, job.fence, job.faults)
            assert set(row.tried) == job.tried
            assert row.output == job.output
            assert 0 <= row.faults <= 3
            assert row.state in ALLOWED[JobState(self.before.get(job.id, JobState.QUEUED))]
            assert (row.finished_at is None) == job.is_live
            self.before[job.id] = row.state

    @invariant()
    def attempts_add_up(self) -> None:
        live, accepted = Q(attempts__outcome=AttemptOutcome.LIVE), Q(attempts__outcome=AttemptOutcome.ACCEPTED)
        attempted = Q(attempts__isnull=False)
        with platform_scope():
            counted = Job.objects.annotate(
                live=Count("attempts", filter=live & attempted), taken=Count("attempts", filter=accepted)
            ).values("pk", "live", "taken", "state", "attempt_count")
            fences = list(Attempt.objects.order_by("job_id", "number").values_list("job_id", "number", "fence"))
        for row in counted:
            assert row["live"] == (row["state"] in {JobState.OFFERED, JobState.RUNNING}), row
            assert row["taken"] == (row["state"] == JobState.COMPLETED), row
        for (job, number, fence), (next_job, next_number, next_fence) in itertools.pairwise(fences):
            assert job != next_job or (next_number == number + 1 and next_fence > fence)

    @invariant()
    def readers_are_shown_what_was_written(self) -> None:
        for job in self.model.values():
            assert read_text(job.id) == job.shown

    @invariant()
    def miners_are_charged_for_what_they_did(self) -> None:
        if not hasattr(self, "miners"):
            return
        blamed = Count("attempts", filter=Q(attempts__is_blamed=True))
        done = Count("attempts", filter=Q(attempts__outcome=AttemptOutcome.ACCEPTED))
        with platform_scope():
            rows = Miner.objects.filter(pk__in=[miner.pk for miner, _ in self.miners]).annotate(
                blamed=blamed, done=done
            )
            for row in rows:
                assert (row.fault_count, row.job_count) == (row.blamed, row.done)

    # --- How

    def _note_offer(self, miner: Miner, job_id: UUID, fence: int, resume_text: str) -> ModelAttempt:
        job = self.model[job_id]
        assert job.state == JobState.QUEUED
        assert miner.pk not in job.tried
        assert fence > max((known for _, known, _ in self.known), default=0)
        job.state, job.fence, job.holder, job.writer = JobState.OFFERED, fence, miner.pk, fence
        self.known.add((job_id, fence, miner.pk))
        return ModelAttempt(job, miner, fence, resume_text)

    def _verdict_only(self, attempt: ModelAttempt) -> str:
        job = attempt.job
        if not job.is_held_under(attempt.fence, attempt.miner.pk):
            return "lost"
        if job.is_live:
            return "ok"
        return "lost" if job.state == JobState.FAILED else "cancel"

    def _verdict(self, attempt: ModelAttempt) -> str:
        """The verdict, and what hearing from the miner does to the model."""
        said = self._verdict_only(attempt)
        if said == "ok":
            attempt.job.take_fault_back(and_try_again=True)
            if attempt.job.state == JobState.QUEUED:
                attempt.job.faulted_fence = None
            attempt.job.state = JobState.RUNNING
        return said

    def _hand_in(self, attempt: ModelAttempt, miner: Miner, fence: int, output: str) -> None:
        job = attempt.job
        can = job.is_live and job.is_held_under(fence, miner.pk)
        expected = "accepted" if can else self._refusal(job, miner.pk, fence)
        assert self._submit(job, miner, fence, output) == expected
        if can:
            job.take_fault_back(and_try_again=False)
            job.output = job.shown = output
            job.end(JobState.COMPLETED)

    def _refusal(self, job: ModelJob, miner: int, fence: int) -> str:
        if (job.id, fence, miner) not in self.known:
            return "NOT_THE_HOLDER"
        if not job.is_held_under(fence, miner):
            return "LEASE_LOST"
        ended = {JobState.COMPLETED: "duplicate", JobState.CANCELLED: "CANCELLED", JobState.EXPIRED: "EXPIRED"}
        return ended.get(JobState(job.state), "LEASE_LOST")

    def _submit(self, job: ModelJob, miner: Miner, fence: int, output: str) -> str:
        result = Result(job_id=job.id, output=output, fence=fence)
        try:
            accepted = accept_result(miner=miner, result=result, now=timezone.now())
        except ApplicationError as error:
            return error.code
        return "duplicate" if accepted.duplicate else "accepted"

    def _fail(self, job: ModelJob, miner: Miner, fence: int, *, failure: Failure) -> str:
        try:
            report_failure(miner=miner, job_id=job.id, fence=fence, reason="", failure=failure, now=timezone.now())
        except ApplicationError as error:
            return error.code
        return ""

    def _jump(self, sql: str, job: ModelJob) -> None:
        with platform_scope(), connection.cursor() as cursor:
            cursor.execute(STAND_STILL)
            cursor.execute(sql, [job.id])

    def _row(self, job: ModelJob) -> Job:
        with platform_scope():
            return Job.objects.get(pk=job.id)

    def _key(self, miner: Miner) -> str:
        return next(key for known, key in self.miners if known.pk == miner.pk)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    """The replies of calls that start together, each on a database session of its own."""
    barrier = threading.Barrier(len(calls))
    replies: list[Any] = [None] * len(calls)

    def call(number: int) -> None:
        try:
            barrier.wait(5)
            replies[number] = calls[number]()
        finally:
            connection.close()

    threads = [threading.Thread(target=call, args=(number,)) for number in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return replies


def test_no_order_of_events_breaks_a_jobs_life() -> None:
    run_state_machine_as_test(
        JobLife,
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            deadline=timedelta(seconds=20),
            derandomize=EXAMPLES <= 30,
            suppress_health_check=list(HealthCheck),
        ),
    )
