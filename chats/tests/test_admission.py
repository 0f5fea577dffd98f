"""How fast anyone may ask, and what happens when the network cannot keep up."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from accounts.models import Business
from accounts.tenancy import platform_scope
from chats import admission
from chats.tests.callers import Caller, conversation_of, count_rows
from mia.embedded.redis import Redis
from mia.lib.ratelimit import redis_pause
from miners.tests.factories import make_job, make_miner

pytestmark = pytest.mark.django_db


def fill_queue(business: Business, jobs: int) -> None:
    for _ in range(jobs):
        make_job(business_id=business.pk)


def test_a_session_may_ask_five_times_at_once(visitor: Caller) -> None:
    visitor.asked()
    statuses = [visitor.ask().status_code for _ in range(6)]
    assert statuses == [200] * 5 + [429]


def test_a_refusal_says_when_to_come_back_and_writes_nothing(visitor: Caller) -> None:
    for _ in range(6):
        visitor.ask()
    before = count_rows()
    response = visitor.ask()
    assert (response.status_code, response.json()["error_code"]) == (429, "RATE_LIMITED")
    assert 1 <= int(response.headers["Retry-After"]) <= 2
    assert count_rows() == before


def test_an_address_opens_twenty_sessions_at_once(visitor: Caller) -> None:
    statuses = []
    for _ in range(22):
        visitor.session_id = None
        statuses.append(visitor.ask().status_code)
    assert statuses.count(200) == 20
    assert statuses[-1] == 429


@pytest.mark.django_db(transaction=True)
def test_the_limit_holds_against_many_at_once(visitor: Caller) -> None:
    visitor.asked()

    def ask(_number: int) -> int:
        try:
            same = Caller(visitor.key, visitor.origin, visitor.session_id, visitor.token)
            return same.ask().status_code
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(ask, range(30)))
    assert 5 <= statuses.count(200) <= 8  # five at once, and one for each second that this took
    assert set(statuses) == {200, 429}


def test_a_hundred_waiting_questions_are_enough_for_a_business(server: Caller, business: Business) -> None:
    make_miner()
    fill_queue(business, admission.QUEUE_CAP)
    response = server.ask()
    assert (response.status_code, response.headers["Retry-After"]) == (429, "5")


def test_a_full_queue_of_one_business_does_not_stop_another(
    server: Caller, stranger: Caller, business: Business
) -> None:
    fill_queue(business, admission.QUEUE_CAP)
    assert stranger.ask().status_code == 200


def test_without_any_miner_a_long_queue_grows_no_longer(server: Caller, business: Business) -> None:
    fill_queue(business, admission.LONG_QUEUE)
    before = count_rows()
    response = server.ask()
    assert (response.status_code, response.json()["error_code"]) == (503, "NO_CAPACITY")
    assert response.headers["Retry-After"] == "10"
    assert count_rows() == before


def test_a_short_queue_waits_for_a_miner(server: Caller) -> None:
    assert server.ask().status_code == 200


@pytest.mark.django_db(transaction=True)
def test_visitors_may_ask_while_redis_is_down(server: Caller, embedded_redis: Redis) -> None:
    embedded_redis.crash()
    try:
        reply = server.asked()
    finally:
        embedded_redis.start()
        redis_pause.end()
    with platform_scope():
        assert conversation_of(reply).last_job_id is not None
