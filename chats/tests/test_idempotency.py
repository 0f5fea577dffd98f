"""Idempotency-Key: whatever is repeated, lost or sent twice at once, one message is one job."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.tenancy import platform_scope
from chats import services
from chats.models import IdempotencyRecord
from chats.tests.callers import Caller, count_rows

pytestmark = pytest.mark.django_db

KEY = {"idempotency-key": "3f0c1f5e-7f4e-4d1c-9d0c-0a4c1e8f7b10"}
SHORT_KEY = {"idempotency-key": "1"}


def test_a_repeat_gets_the_first_reply(visitor: Caller) -> None:
    first = visitor.ask(headers=KEY).json()
    visitor.session_id = None
    second = visitor.ask(headers=KEY).json()
    assert (second["job_id"], second["session_id"]) == (first["job_id"], first["session_id"])
    assert count_rows() == (1, 1, 1)


def test_a_repeated_reply_opens_the_session(visitor: Caller) -> None:
    visitor.ask(headers=KEY)
    visitor.session_id = visitor.token = None
    visitor.ask(headers=KEY)
    assert visitor.get(visitor.in_session("messages")).status_code == 200


def test_another_body_with_the_same_key_is_a_conflict(visitor: Caller) -> None:
    visitor.ask("One", headers=KEY)
    visitor.session_id = None
    response = visitor.ask("Two", headers=KEY)
    assert (response.status_code, response.json()["error_code"]) == (409, "IDEMPOTENCY_CONFLICT")
    assert count_rows() == (1, 1, 1)


def test_the_same_key_of_another_business_is_another_key(server: Caller, stranger: Caller) -> None:
    assert server.ask(headers=KEY).json()["job_id"] != stranger.ask(headers=KEY).json()["job_id"]


def test_a_visitor_cannot_guess_his_way_into_anothers_session(visitor: Caller, second_visitor: Caller) -> None:
    first = visitor.send("post", "/chat", {"message": "Hello"}, **SHORT_KEY).json()
    second_visitor.client.defaults["REMOTE_ADDR"] = "203.0.113.9"
    second = second_visitor.send("post", "/chat", {"message": "Hello"}, **SHORT_KEY).json()
    assert first["session_id"] != second["session_id"]


def test_a_refused_request_leaves_its_key_unused(visitor: Caller) -> None:
    visitor.send("post", "/chat", {"message": "Hello", "bot_id": 999_999}, **KEY)
    assert visitor.ask(headers=KEY).status_code == 200


@pytest.mark.parametrize("key", ["x" * 256, "naïve", "tab\there"])
def test_a_key_that_is_none_is_refused(visitor: Caller, key: str) -> None:
    response = visitor.ask(headers={"idempotency-key": key})
    assert response.status_code == 400
    assert count_rows() == (0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_of_twenty_repeats_at_once_exactly_one_makes_a_job(server: Caller) -> None:
    def ask(_number: int) -> str:
        try:
            return Caller(server.key).ask(headers=KEY).json()["job_id"]
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        job_ids = set(pool.map(ask, range(20)))
    assert len(job_ids) == 1
    assert count_rows() == (1, 1, 1)


def test_no_credential_is_kept_with_a_reply(visitor: Caller) -> None:
    reply = visitor.ask(headers=KEY).json()
    with platform_scope():
        kept = str(IdempotencyRecord.objects.get().response)
    assert reply["session_token"] not in kept
    assert "stream_token" not in kept


def test_keys_are_forgotten_after_two_days(visitor: Caller) -> None:
    visitor.ask(headers=KEY)
    with platform_scope():
        assert services.forget_old_idempotency_keys(now=timezone.now() + timedelta(hours=25)) == 0
        assert services.forget_old_idempotency_keys(now=timezone.now() + timedelta(hours=49)) == 1
