"""Claiming as miners see it: lanes, filters, fairness between tenants, affinity, canaries, trust."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.tenancy import platform_scope
from accounts.tests.factories import BusinessFactory
from miners import services, trust
from miners.choices import JobKind, JobState, MinerStatus, Trust
from miners.choices import Lane as JobLane
from miners.limits import OUTPUT_WEIGHT
from miners.models import Canary, Job, Miner
from miners.services import Result, accept_result
from miners.tests.factories import hold, make_job, make_miner, reload
from miners.tests.lane import Lane, run
from miners.tokens import estimate_messages

pytestmark = pytest.mark.django_db(transaction=True)

submit = database_sync_to_async(make_job)


def claim(key: str, *, slots: int = 1, idle: bool = True) -> list[str]:
    """The ids of the jobs that one impatient poll gets."""

    async def scenario() -> list[str]:
        answer = await Lane(key).post("/job/claim", {"slots": slots, "idle": idle, "wait": 0})
        return [offer["job_id"] for offer in answer.data["jobs"]]

    return list(run(scenario))


def ids(*jobs: Job) -> list[str]:
    return [str(job.pk) for job in jobs]


def finish(job: Job, miner: Miner) -> None:
    held = hold(job, miner, acked=True)
    accept_result(miner=miner, result=Result(job.pk, "Done.", fence=held.fence), now=timezone.now())


# --- Filters


@pytest.mark.parametrize(
    ("demand", "able", "unable"),
    [
        ({"model": "qwen"}, {"model_ids": ["qwen", "llama"]}, {"model_ids": ["llama"]}),
        ({"features": ["tools"]}, {"features": ["json", "tools"]}, {"features": ["json"]}),
        ({"max_tokens": 6000}, {"max_context": 8192}, {"max_context": 4096}),
        ({"min_trust": Trust.TRUSTED}, {"trust": Trust.TRUSTED}, {"trust": Trust.VERIFIED}),
    ],
)
def test_a_job_goes_to_the_miner_that_can_do_it(
    demand: dict[str, Any], able: dict[str, Any], unable: dict[str, Any]
) -> None:
    wanted, ordinary = make_job(**demand), make_job()
    assert claim(make_miner(**unable)[1], slots=4) == ids(ordinary)
    assert claim(make_miner(**able)[1], slots=4) == ids(wanted)


def test_a_miner_gets_no_more_than_the_slots_it_asks_for_or_has() -> None:
    for _ in range(4):
        make_job()
    assert len(claim(make_miner(slots=4)[1], slots=2)) == 2
    assert len(claim(make_miner(slots=1)[1], slots=9)) == 1


def test_staff_may_cap_a_miners_slots() -> None:
    jobs = [make_job() for _ in range(3)]
    miner, key = make_miner(slots=4)
    services.limit_slots(miner=miner, max_slots=2)
    assert claim(key, slots=4) == ids(*jobs[:2])


def test_a_miner_that_only_wants_customers_gets_no_idle_job() -> None:
    idle = make_job(kind=JobKind.IDLE, lane=JobLane.IDLE, min_trust=Trust.PROBATION)
    _, key = make_miner()
    assert claim(key, idle=False) == []
    assert claim(key, idle=True) == ids(idle)


def test_a_job_goes_to_no_miner_that_failed_it() -> None:
    job = make_job()
    failed, key = make_miner()
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(tried=[failed.pk])
    assert claim(key) == []
    assert claim(make_miner()[1]) == ids(job)


def test_a_job_past_its_deadline_is_offered_to_nobody() -> None:
    make_job(deadline=timedelta(seconds=-1))
    assert claim(make_miner()[1]) == []


def test_a_draining_miner_gets_nothing_new_and_is_told_so() -> None:
    make_job()
    miner, key = make_miner()
    services.request_drain(miner=miner, drain=True)

    async def scenario() -> dict[str, Any]:
        return (await Lane(key).get("/job/next", "wait=0")).data

    reply = run(scenario)
    assert (reply["jobs"], reply["drain"]) == ([], True)


def test_a_banned_miner_is_refused() -> None:
    make_job()
    _, key = make_miner(trust=Trust.BANNED)

    async def scenario() -> tuple[int, str]:
        answer = await Lane(key).get("/job/next", "wait=0")
        return answer.status, answer.data["error_code"]

    assert run(scenario) == (403, "MINER_BANNED")


# --- What a miner is told


def test_an_offer_names_neither_the_business_nor_the_visitor() -> None:
    business = BusinessFactory(name="Wolperdinger GmbH")
    job = make_job(business_id=business.pk, topic="conversation:secret-topic", affinity_key="conversation:secret-topic")
    _, key = make_miner()

    async def scenario() -> str:
        return str((await Lane(key).get("/job/next", "wait=0")).data)

    told = run(scenario)
    assert str(job.pk) in told
    for secret in ("Wolperdinger", "secret-topic", f"'business_id': {business.pk}"):
        assert secret not in told


def test_the_first_job_is_mirrored_in_the_first_protocols_shape() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Where is it?"},
    ]
    job = make_job(messages=messages, params={"temperature": 0.3})
    _, key = make_miner()

    async def scenario() -> dict[str, Any]:
        return (await Lane(key).get("/job/next", "wait=0")).data

    told = run(scenario)
    assert {
        name: told[name] for name in ("job_id", "prompt", "context", "session_id", "business_id", "max_tokens")
    } == {
        "job_id": str(job.pk),
        "prompt": "Where is it?",
        "context": "Be brief.",
        "session_id": str(job.pk),
        "business_id": None,
        "max_tokens": 100,
    }
    assert told["message"] == "Job retrieved successfully"
    assert told["jobs"][0]["params"] == {"max_tokens": 100, "temperature": 0.3}
    assert told["jobs"][0]["messages"] == messages


def test_nothing_to_do_has_the_first_protocols_shape_too() -> None:
    _, key = make_miner()

    async def scenario() -> dict[str, Any]:
        return (await Lane(key).get("/job/next", "wait=0")).data

    assert run(scenario) == {
        "job_id": None,
        "prompt": None,
        "context": None,
        "session_id": None,
        "business_id": None,
        "max_tokens": None,
        "message": "No jobs available",
        "jobs": [],
        "skipped": {},
        "cancel": [],
        "drain": False,
        "pause": False,
        "messages": [],
        "config": None,
    }


# --- Fairness


def test_a_noisy_tenant_does_not_starve_a_quiet_one() -> None:
    """A hundred jobs of one business are queued; the one job of another is among the first two served."""
    noisy, quiet = BusinessFactory().pk, BusinessFactory().pk
    for _ in range(100):
        make_job(business_id=noisy)
    alone = make_job(business_id=quiet)
    assert str(alone.pk) in claim(make_miner(slots=2)[1], slots=2)


def test_tenants_are_served_alternately_while_both_have_work() -> None:
    one, two = BusinessFactory().pk, BusinessFactory().pk
    owner = {str(make_job(business_id=one).pk): one for _ in range(6)}
    owner |= {str(make_job(business_id=two).pk): two for _ in range(3)}
    served = [owner[job] for job in claim(make_miner(slots=9)[1], slots=9)]
    assert served[:6].count(two) == 3


def test_a_tenant_with_large_jobs_is_served_fewer_of_them() -> None:
    large, small = BusinessFactory().pk, BusinessFactory().pk
    owner = {str(make_job(business_id=large, max_tokens=900).pk): large for _ in range(8)}
    owner |= {str(make_job(business_id=small, max_tokens=90).pk): small for _ in range(20)}
    served = [owner[job] for job in claim(make_miner(slots=11)[1], slots=11)]
    assert served.count(small) > 3 * served.count(large)


def test_resting_earns_no_credit() -> None:
    """Who comes back after a rest is served next, not ten times in a row."""
    busy, rested = BusinessFactory().pk, BusinessFactory().pk
    make_job(business_id=rested)
    for _ in range(20):
        make_job(business_id=busy)
    _, key = make_miner(slots=16)
    claim(key, slots=16)
    owner = {str(make_job(business_id=rested).pk): rested for _ in range(4)}
    served = [owner.get(job, busy) for job in claim(key, slots=4)]
    assert served.count(rested) <= 3


def test_a_job_costs_its_tenant_the_prompt_and_twice_the_answer() -> None:
    business = BusinessFactory().pk
    first = make_job(business_id=business, max_tokens=70)
    second = make_job(business_id=business, max_tokens=70)
    cost = estimate_messages(first.messages) + OUTPUT_WEIGHT * 70
    assert second.virtual_start - first.virtual_start == cost


def test_who_comes_new_starts_where_the_lane_is() -> None:
    early, late = BusinessFactory().pk, BusinessFactory().pk
    jobs = [make_job(business_id=early) for _ in range(3)]
    claim(make_miner(slots=2)[1], slots=2)
    assert make_job(business_id=late).virtual_start == jobs[1].virtual_start > 0


def test_when_the_counters_are_lost_a_lane_goes_on_where_its_queue_stands(redis_client: Any) -> None:
    """A canary that waits for its miner stands outside of the queue."""
    early, late = BusinessFactory().pk, BusinessFactory().pk
    idle = {"kind": JobKind.IDLE, "lane": JobLane.IDLE, "min_trust": Trust.PROBATION}
    jobs = [make_job(business_id=early, **idle) for _ in range(3)]
    claim(make_miner(slots=2)[1], slots=2)
    send_canary(make_miner()[0])
    redis_client.flushall()
    assert make_job(business_id=late, **idle).virtual_start == jobs[2].virtual_start > 0


# --- Affinity


def test_a_conversation_goes_back_to_the_miner_that_served_it_last() -> None:
    (first, _), (last, last_key) = make_miner(), make_miner()
    finish(make_job(affinity_key="c1"), first)
    finish(make_job(affinity_key="c1"), last)
    job = make_job(affinity_key="c1")
    assert job.affinity_miner_id == last.pk
    assert claim(last_key) == ids(job)


def test_a_job_is_kept_for_its_free_miner_for_a_moment_only() -> None:
    last, _ = make_miner()
    finish(make_job(affinity_key="c1"), last)
    _, other_key = make_miner()

    async def scenario() -> float:
        poll = asyncio.create_task(Lane(other_key).next(wait=5))
        await asyncio.sleep(0.2)
        job = await submit(affinity_key="c1")
        (offer,) = await poll
        assert offer["job_id"] == str(job.pk)
        held = await database_sync_to_async(reload)(job)
        assert held.offered_at is not None
        return (held.offered_at - held.created_at).total_seconds()

    assert 0.14 <= run(scenario) < 1.0


def test_a_job_is_not_kept_for_a_miner_that_is_busy_or_gone() -> None:
    for state in (
        {"slots_free": 0},
        {"status": MinerStatus.OFFLINE},
        {"last_active": timezone.now() - timedelta(minutes=1)},
    ):
        last, _ = make_miner()
        finish(make_job(affinity_key=f"c{last.pk}"), last)
        Miner.objects.filter(pk=last.pk).update(**state)
        job = make_job(affinity_key=f"c{last.pk}")
        assert claim(make_miner()[1]) == ids(job)


# --- Canaries and trust


def send_canary(target: Miner) -> Job:
    canary = Canary.objects.create(question="When do you open?", facts="We open at nine.", expected="nine")
    with platform_scope():
        return trust.send_canary(target, canary, now=timezone.now())


def test_a_canary_goes_only_to_the_miner_it_was_made_for() -> None:
    target, key = make_miner(trust=Trust.PROBATION)
    job = send_canary(target)
    assert claim(make_miner()[1]) == []
    assert claim(key, idle=False) == ids(job)


def test_a_canary_looks_like_any_question_to_its_miner() -> None:
    target, key = make_miner()
    send_canary(target)
    make_job()

    async def scenario() -> tuple[dict[str, Any], dict[str, Any]]:
        offers = await Lane(key).next(slots=2)
        said = [{"job_id": offer["job_id"], "fence": offer["fence"]} for offer in offers]
        leases = (await Lane(key).post("/heartbeat", {"jobs": said})).data["jobs"]
        assert len({lease["lease_ms"] for lease in leases}) == 1
        return tuple(sorted(offers, key=lambda offer: offer["messages"][-1]["content"]))

    question, canary = run(scenario)
    assert question.keys() == canary.keys()
    for name in ("kind", "stream", "tools", "tool_choice", "model", "resume_text", "offer_ms"):
        assert question[name] == canary[name]


def test_a_newcomer_gets_idle_jobs_and_no_customers() -> None:
    make_job()
    idle = make_job(kind=JobKind.IDLE, lane=JobLane.IDLE, min_trust=Trust.PROBATION)
    assert claim(make_miner(trust=Trust.PROBATION)[1], slots=4) == ids(idle)


def test_a_suspect_gets_nothing_that_anybody_will_read() -> None:
    make_job(min_trust=Trust.SUSPECT)
    make_job(kind=JobKind.IDLE, lane=JobLane.IDLE, min_trust=Trust.SUSPECT)
    assert claim(make_miner(trust=Trust.SUSPECT)[1], slots=4) == []


def test_a_suspicion_takes_effect_at_the_next_poll() -> None:
    miner, key = make_miner()
    trust.set_trust(miner, Trust.SUSPECT, reason="wrong answers", now=timezone.now())
    make_job()
    assert claim(key) == []


# --- First protocol


def test_a_miner_of_the_first_protocol_has_accepted_by_asking() -> None:
    job = make_job()
    _, key = make_miner(agent="")
    assert claim(key) == ids(job)
    held = reload(job)
    assert held.state == JobState.RUNNING
    assert held.lease_until is not None
    assert held.lease_until - timezone.now() > timedelta(seconds=80)
