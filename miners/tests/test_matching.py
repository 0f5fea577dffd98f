"""Who gets which job: the rules in Python, and that PostgreSQL's copy of them says the same."""

import json
import random
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import fencing
from miners.choices import JobKind, Lane, Trust
from miners.limits import CHAT_DEADLINE
from miners.matching import AFFINITY_HOLD_MS, Seat, describe, match, may_serve
from miners.models import Job
from miners.profiles import MinerProfile
from miners.tests.factories import make_miner

PROFILE = MinerProfile(
    id=1,
    name="one",
    trust=Trust.VERIFIED,
    model_ids=("qwen",),
    features=("tools",),
    max_context=4096,
    slots=4,
    drain_requested=False,
    is_first_protocol=False,
)


def seat(miner: int = 1, *, slots: int = 1, idle: bool = True, **fields: Any) -> Seat:
    return Seat(replace(PROFILE, id=miner, **fields), slots=slots, idle=idle)


def job(**fields: Any) -> dict[str, Any]:
    return {
        "id": uuid4(),
        "kind": JobKind.CHAT,
        "lane": Lane.CHAT,
        "model": "",
        "features": [],
        "context_tokens": 100,
        "max_tokens": 100,
        "min_trust": Trust.VERIFIED,
        "tried": [],
        "target_miner_id": None,
        "affinity_miner_id": None,
        "miner_id": None,
        "affine_is_free": False,
        "age_ms": 0.0,
        **fields,
    }


def winners(jobs: list[dict[str, Any]], seats: list[Seat]) -> list[int]:
    return [given.profile.id for _, given in match(jobs, seats).pairs]


@pytest.mark.parametrize(
    "demand",
    [
        {"model": "llama"},
        {"context_tokens": 4000},
        {"max_tokens": 4000},
        {"features": ["json"]},
        {"min_trust": Trust.TRUSTED},
        {"tried": [1]},
        {"target_miner_id": 2},
    ],
)
def test_a_job_goes_to_no_miner_that_cannot_serve_it(demand: dict[str, Any]) -> None:
    assert winners([job(**demand)], [seat()]) == []


@pytest.mark.parametrize("demand", [{"model": "qwen"}, {"features": ["tools"]}, {"tried": [2]}, {"target_miner_id": 1}])
def test_a_job_goes_to_a_miner_that_meets_its_demand(demand: dict[str, Any]) -> None:
    assert winners([job(**demand)], [seat()]) == [1]


@pytest.mark.parametrize(
    ("trust", "kind", "lane", "is_served"),
    [
        (Trust.PROBATION, JobKind.CHAT, Lane.CHAT, False),
        (Trust.PROBATION, JobKind.API, Lane.API, False),
        (Trust.PROBATION, JobKind.IDLE, Lane.IDLE, True),
        (Trust.PROBATION, JobKind.CANARY, Lane.IDLE, True),
        (Trust.SUSPECT, JobKind.IDLE, Lane.IDLE, False),
        (Trust.SUSPECT, JobKind.CHAT, Lane.CHAT, False),
        (Trust.SUSPECT, JobKind.CANARY, Lane.IDLE, True),
        (Trust.VERIFIED, JobKind.CHAT, Lane.CHAT, True),
    ],
)
def test_trust_opens_the_lanes(trust: Trust, kind: JobKind, lane: Lane, is_served: bool) -> None:
    offered = job(kind=kind, lane=lane, min_trust=Trust.SUSPECT)
    assert may_serve(seat(trust=trust), offered) is is_served


def test_an_idle_job_goes_to_nobody_who_does_not_want_it() -> None:
    idle = job(kind=JobKind.IDLE, lane=Lane.IDLE)
    assert winners([idle], [seat(1, idle=False), seat(2)]) == [2]


def test_jobs_are_spread_over_miners_before_one_gets_two() -> None:
    seats = [seat(1, slots=3), seat(2, slots=3)]
    assert sorted(winners([job() for _ in range(4)], seats)) == [1, 1, 2, 2]


def test_the_longest_parked_goes_first() -> None:
    assert winners([job()], [seat(7), seat(3), seat(5)]) == [7]


def test_nobody_is_given_more_than_its_slots() -> None:
    assert winners([job() for _ in range(5)], [seat(1, slots=2), seat(2, slots=1)]) == [1, 2, 1]


def test_the_last_miner_of_a_conversation_is_preferred() -> None:
    assert winners([job(affinity_miner_id=3)], [seat(1), seat(2), seat(3)]) == [3]


def test_a_job_waits_a_moment_for_its_miner_that_is_free_but_not_parked() -> None:
    held = match([job(affinity_miner_id=9, affine_is_free=True, age_ms=40.0)], [seat()])
    assert held.pairs == ()
    assert held.hold_ms == AFFINITY_HOLD_MS - 40


def test_affinity_never_costs_more_than_150_ms() -> None:
    assert AFFINITY_HOLD_MS == 150
    late = match([job(affinity_miner_id=9, affine_is_free=True, age_ms=150.0)], [seat()])
    assert len(late.pairs) == 1
    assert late.hold_ms is None


def test_a_job_does_not_wait_for_a_miner_that_is_busy() -> None:
    assert winners([job(affinity_miner_id=9, affine_is_free=False)], [seat()]) == [1]


def test_a_held_job_does_not_hold_the_one_behind_it() -> None:
    held, free = job(affinity_miner_id=9, affine_is_free=True), job()
    assert [job_id for job_id, _ in match([held, free], [seat()]).pairs] == [free["id"]]


def test_a_miner_that_let_the_job_go_before_comes_last() -> None:
    offered = job(miner_id=1, affinity_miner_id=1)
    assert winners([offered], [seat(1), seat(2)]) == [2]
    assert winners([offered], [seat(1)]) == [1]


def test_a_job_is_not_held_for_a_miner_that_let_it_go() -> None:
    again = job(miner_id=9, affinity_miner_id=9, affine_is_free=True)
    assert winners([again], [seat()]) == [1]


def test_seats_of_one_capability_are_described_once() -> None:
    described = describe([seat(1), seat(2), seat(3, model_ids=("llama",))])
    assert [kind["miners"] for kind in described] == [[1, 2], [3]]
    assert described[0]["models"] == ["qwen"]


@pytest.mark.django_db
def test_postgresql_and_python_agree_on_who_may_serve() -> None:
    """A hundred random jobs and twenty random seats: the claim's SQL picks exactly the jobs that a seat may serve."""
    chance = random.Random(11)
    miners = [make_miner()[0].pk for _ in range(3)]
    with platform_scope():
        Job.objects.bulk_create([random_job(chance, miners) for _ in range(100)])
        rows = list(Job.objects.values())
    for _ in range(20):
        taker = random_seat(chance, miners)
        mine = {row["id"] for row in rows if may_serve(taker, row)}
        assert claimable_by(taker) == mine


def claimable_by(taker: Seat) -> set[Any]:
    parameters = {"waiters": json.dumps(describe([taker])), "limit": 1000, "affinity_seen": "10 s"}
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(fencing.CANDIDATES, parameters)
        return {row[0] for row in cursor.fetchall()}


def random_job(chance: random.Random, miners: list[int]) -> Job:
    lane = chance.choice(list(Lane))
    kind = JobKind.CANARY if lane == Lane.IDLE and chance.random() < 0.3 else [*JobKind][lane]
    now = timezone.now()
    return Job(
        kind=kind,
        lane=lane,
        model=chance.choice(["", "qwen", "llama"]),
        features=chance.sample(["tools", "json"], chance.randint(0, 2)),
        context_tokens=chance.choice([10, 2000]),
        max_tokens=chance.choice([10, 3000]),
        min_trust=chance.choice([*Trust][1:]),
        tried=chance.sample(miners, chance.randint(0, 2)),
        target_miner_id=chance.choice([None, None, None, *miners]),
        created_at=now,
        deadline=now + CHAT_DEADLINE,
    )


def random_seat(chance: random.Random, miners: list[int]) -> Seat:
    return seat(
        chance.choice(miners),
        idle=chance.random() < 0.5,
        trust=chance.choice([*Trust][1:]),
        model_ids=tuple(chance.sample(["qwen", "llama"], chance.randint(0, 2))),
        features=tuple(chance.sample(["tools", "json"], chance.randint(0, 2))),
        max_context=chance.choice([512, 4096, 8192]),
    )
