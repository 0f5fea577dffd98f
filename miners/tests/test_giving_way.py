"""Idle jobs that give way, miners that are paused, and owners who choose what their machines do."""

from typing import Any

import pytest
from django.test import Client

from accounts.tenancy import platform_scope
from miners import services
from miners.choices import AttemptOutcome, JobKind, JobState, Trust
from miners.choices import Lane as JobLane
from miners.limits import RETURNS_TO_ONE_MINER
from miners.models import Attempt, Job, Miner
from miners.tests.factories import hold, make_job, make_miner, reload
from miners.tests.lane import Lane, run

pytestmark = pytest.mark.django_db(transaction=True)
IDLE = {"kind": JobKind.IDLE, "lane": JobLane.IDLE, "min_trust": Trust.PROBATION}


def hand_back(miner: Miner, key: str, job: Job, code: str = "gave_way") -> Any:
    body = {
        "job_id": str(job.pk),
        "fence": str(job.fence),
        "miner_id": miner.pk,
        "success": False,
        "status": "refused",
        "error": {"code": code, "retryable": True, "message": "the job gave way"},
    }
    headers = {"authorization": f"Bearer {key}"}
    return Client().post("/job/result", body, content_type="application/json", headers=headers)


def claimed(key: str, **asked: Any) -> list[str]:
    async def scenario() -> list[str]:
        answer = await Lane(key).post("/job/claim", {"slots": 4, "wait": 0, **asked})
        return [job["job_id"] for job in answer.data["jobs"]]

    found: list[str] = run(scenario)
    return found


def test_an_idle_job_that_gave_way_is_queued_again_at_no_fault() -> None:
    miner, key = make_miner()
    job = hold(make_job(**IDLE), miner, acked=True)
    assert hand_back(miner, key, job).status_code == 200
    row = reload(job)
    assert (row.state, row.faults, row.tried) == (JobState.QUEUED, 0, [])
    with platform_scope():
        attempt = Attempt.objects.get(pk=job.fence)
    assert (attempt.outcome, attempt.is_fault, attempt.is_blamed) == (AttemptOutcome.GAVE_WAY, False, False)


def test_the_only_miner_gets_its_idle_job_back() -> None:
    miner, key = make_miner()
    job = hold(make_job(**IDLE), miner, acked=True)
    hand_back(miner, key, job)
    assert claimed(key) == [str(job.pk)]


def test_a_job_does_not_give_way_for_ever() -> None:
    miner, key = make_miner()
    job = hold(make_job(**IDLE), miner, acked=True)
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(attempt_count=RETURNS_TO_ONE_MINER)
    hand_back(miner, key, job)
    assert reload(job).tried == [miner.pk]


@pytest.mark.parametrize(("fields", "code"), [(IDLE, "too_long"), ({}, "gave_way")])
def test_a_refusal_goes_elsewhere_and_customers_never_give_way(fields: dict[str, Any], code: str) -> None:
    miner, key = make_miner()
    job = hold(make_job(**fields), miner, acked=True)
    hand_back(miner, key, job, code)
    assert reload(job).tried == [miner.pk]


def test_a_full_miner_that_asks_for_customers_alone_is_given_no_idle_job() -> None:
    _miner, key = make_miner()
    make_job(**IDLE)
    assert claimed(key, idle=False) == []
    chat = make_job()
    assert claimed(key, idle=False) == [str(chat.pk)]


def test_a_paused_miner_is_told_so_and_given_nothing() -> None:
    miner, key = make_miner()
    make_job()
    services.request_pause(miner=miner, pause=True)

    async def scenario() -> tuple[Any, Any]:
        lane = Lane(key)
        beat = await lane.post("/heartbeat", {"status": "idle", "jobs": []})
        return beat.data["pause"], (await lane.post("/job/claim", {"slots": 1, "wait": 0})).data

    pause, poll = run(scenario)
    assert (pause, poll["pause"], poll["jobs"]) == (True, True, [])
    services.request_pause(miner=miner, pause=False)
    assert len(claimed(key)) == 1


def test_a_pause_that_comes_while_a_poll_is_parked_holds() -> None:
    miner, _key = make_miner()
    services.request_pause(miner=miner, pause=True)
    with pytest.raises(AssertionError, match="not queued"):
        hold(make_job(), miner)


@pytest.mark.parametrize(("lanes", "given"), [(["idle"], "idle"), (["chat"], "chat"), (["chat", "api"], "api chat")])
def test_an_owner_chooses_the_kinds_of_jobs(lanes: list[str], given: str) -> None:
    miner, key = make_miner()
    services.register_miner(
        fields={"name": miner.name, "slots": 4, "agent": "tests/1", "lanes": lanes},
        enrolment_token="",
        plain_key=key,
        is_open=False,
        now=miner.created_at,
    )
    jobs = {
        "chat": make_job(),
        "api": make_job(kind=JobKind.API, lane=JobLane.API),
        "idle": make_job(**IDLE),
    }
    assert set(claimed(key)) == {str(jobs[kind].pk) for kind in given.split()}


@pytest.mark.parametrize("fields", [{"lanes": [JobLane.IDLE]}, {"pause_requested": True}])
def test_a_miner_that_takes_no_chats_is_no_capacity_for_them(fields: dict[str, Any]) -> None:
    miner, _key = make_miner()
    job = make_job()
    assert Miner.objects.able_to_serve(job, miner.last_active).exists()
    Miner.objects.filter(pk=miner.pk).update(**fields)
    assert not Miner.objects.able_to_serve(job, miner.last_active).exists()
