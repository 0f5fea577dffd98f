"""Defects of the first system, each by its number in the list of them: none may come back."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from accounts.models import Business
from accounts.tenancy import platform_scope
from chats.choices import Role
from chats.models import ChatLog, Conversation
from chats.tests.callers import Caller, count_rows, job_of, logs_of
from chats.tests.streams import answer, run, take_job
from mia.embedded.redis import Redis
from mia.lib.ratelimit import redis_pause
from miners.choices import JobState
from miners.models import Job
from miners.tests.factories import make_miner
from miners.tests.lane import Lane

pytestmark = pytest.mark.django_db(transaction=True)


def test_m08_whatever_a_question_carries_the_miner_gets_a_job_that_fits_its_protocol(server: Caller) -> None:
    _, key = make_miner(features=["tools"])
    odd = {"context": "{'order': 17}", "temperature": 0, "tools": [], "unknown": {"a": [1]}, "business_id": None}
    reply = server.asked("\u202eodd 😀 words\u2028", **odd)

    async def scenario() -> Any:
        (offer,) = await Lane(key).next(wait=5)
        return offer

    offer = run(scenario)
    assert offer["job_id"] == reply["job_id"]
    assert {"attempt", "fence", "kind", "messages", "params", "tools", "deadline_ms"} <= offer.keys()
    assert all(isinstance(message["content"], str) for message in offer["messages"])


def test_m08_a_poll_that_fails_after_the_claim_loses_no_job(server: Caller) -> None:
    _, key = make_miner()
    reply = server.asked()

    async def broken() -> None:
        await Lane(key).next(wait=5)  # the reply never reaches the miner

    run(broken)
    assert job_of(reply).state in {JobState.QUEUED, JobState.OFFERED}
    assert job_of(reply).faults == 0


def test_m11_a_job_is_not_readable_by_its_id_alone(visitor: Caller, stranger: Caller) -> None:
    path = visitor.asked()["poll_url"]
    visitor.token = None
    assert visitor.get(path).status_code == 404
    assert stranger.get(path).status_code == 404
    visitor.key = ""
    assert visitor.get(path).status_code == 401


def test_m12_the_status_is_the_truth_whatever_else_is_in_the_queue(visitor: Caller, server: Caller) -> None:
    miner, key = make_miner()
    assert server.get(f"/job/{uuid.uuid4()}/result").status_code == 404
    reply = visitor.asked()
    assert visitor.get(reply["poll_url"]).json()["status"] == "queued"

    async def scenario() -> None:
        offer = await take_job(key)
        assert (await asyncio_status(visitor, reply)) == "processing"
        await answer(miner, offer, "Thirty.")
        assert (await asyncio_status(visitor, reply)) == "completed"

    run(scenario)


async def asyncio_status(caller: Caller, reply: dict[str, Any]) -> str:
    from chats.tests.streams import in_thread

    return (await in_thread(caller.get)(reply["poll_url"])).json()["status"]


def test_m23_queued_means_that_the_job_is_in_the_database(visitor: Caller, embedded_redis: Redis) -> None:
    embedded_redis.crash()
    try:
        reply = visitor.asked()
        assert job_of(reply).state == JobState.QUEUED
        assert visitor.get(reply["poll_url"]).json()["status"] == "queued"
    finally:
        embedded_redis.start()
        redis_pause.end()


def test_m26_one_message_is_one_job_and_one_answer(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        offer = await take_job(key)
        for _ in range(3):
            await answer(miner, offer, "Thirty.")

    run(scenario)
    assert count_rows() == (1, 2, 1)
    assert [log.role for log in logs_of(reply)] == [Role.USER, Role.ASSISTANT]


def test_m32_the_business_is_the_keys_and_is_kept_with_every_message(
    visitor: Caller, business: Business, other_business: Business
) -> None:
    assert visitor.ask(business_id=other_business.pk).status_code == 404
    assert count_rows() == (0, 0, 0)
    visitor.asked(business_id=business.pk)
    with platform_scope():
        for model in (Conversation, ChatLog, Job):
            assert {row.business_id for row in model.objects.all()} == {business.pk}


def test_m33_a_session_is_named_by_us_with_enough_randomness(visitor: Caller) -> None:
    chosen = str(uuid.uuid4())
    assert visitor.ask(session_id=chosen).status_code == 404
    assert count_rows() == (0, 0, 0)
    ids = set()
    for _ in range(5):
        visitor.session_id = None
        ids.add(visitor.asked()["session_id"])
    assert len(ids) == 5
    assert all(uuid.UUID(session_id).version == 4 for session_id in ids)


def test_m33_another_visitors_session_is_not_adopted(visitor: Caller, second_visitor: Caller) -> None:
    visitor.asked()
    second_visitor.asked()
    second_visitor.session_id = visitor.session_id
    assert second_visitor.ask().status_code == 404


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"message": "x" * 8000}, 200),
        ({"message": "x" * 8001}, 400),
        ({"context": "x" * 32_000}, 200),
        ({"context": "x" * 32_001}, 400),
        ({"max_tokens": 1}, 200),
        ({"max_tokens": 4096}, 200),
        ({"max_tokens": 4097}, 400),
        ({"max_tokens": 0}, 400),
        ({"max_tokens": -1}, 400),
        ({"temperature": 0}, 200),
        ({"temperature": 2}, 200),
        ({"temperature": 2.1}, 400),
        ({"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(32)]}, 200),
        ({"tools": [{"type": "function", "function": {"name": f"f{n}"}} for n in range(33)]}, 400),
    ],
)
def test_m34_every_field_has_its_limit(server: Caller, fields: dict[str, Any], status: int) -> None:
    response = server.ask(**fields)
    assert response.status_code == status, response.content
    assert (count_rows() == (0, 0, 0)) == (status != 200)


def test_m35_no_answer_is_ever_made_up(visitor: Caller) -> None:
    reply = visitor.asked("Which of these is a greeting: hi?")
    with platform_scope():
        from datetime import timedelta

        from django.utils import timezone

        from miners.choices import AttemptOutcome, ErrorCode
        from miners.results import end_unanswered

        end_unanswered(
            job=job_of(reply),
            state=JobState.EXPIRED,
            code=ErrorCode.DEADLINE,
            outcome=AttemptOutcome.DEADLINE,
            now=timezone.now() + timedelta(seconds=120),
        )
    shown = visitor.get(reply["poll_url"]).json()
    assert (shown["status"], shown["result"]) == ("expired", None)
    assert Role.ASSISTANT not in {log.role for log in logs_of(reply)}
    assert job_of(reply).tokens_generated == 0
