"""Session and stream tokens: what they say, for how long, and to whom."""

from __future__ import annotations

import time
import uuid
from datetime import timedelta

import pytest
from django.core import signing

from chats.tokens import Pass, read_session_token, read_stream_token, session_token, stream_token

ID = uuid.UUID("0f8fad5b-d9cb-469f-a165-70867728950e")
JOB = uuid.UUID("7c9e6679-7425-40de-944b-e07fc1f90ae7")


def test_a_token_says_whose_conversation_it_opens() -> None:
    assert read_session_token(session_token(conversation_id=ID, business_id=7)) == Pass(ID, 7)
    assert read_stream_token(stream_token(conversation_id=ID, business_id=7, job_id=JOB)) == Pass(ID, 7, JOB)


def test_one_sort_of_token_is_not_the_other() -> None:
    assert read_stream_token(session_token(conversation_id=ID, business_id=7)) is None
    assert read_session_token(stream_token(conversation_id=ID, business_id=7)) is None


@pytest.mark.parametrize(
    ("make", "read", "lifetime"),
    [
        (session_token, read_session_token, timedelta(days=30)),
        (stream_token, read_stream_token, timedelta(minutes=15)),
    ],
)
def test_tokens_run_out(monkeypatch: pytest.MonkeyPatch, make, read, lifetime: timedelta) -> None:
    token = make(conversation_id=ID, business_id=7)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + lifetime.total_seconds() - 5)
    assert read(token) is not None
    monkeypatch.setattr(time, "time", lambda: now + lifetime.total_seconds() + 5)
    assert read(token) is None


def test_a_token_that_was_touched_is_worth_nothing() -> None:
    token = session_token(conversation_id=ID, business_id=7)
    for index in range(len(token)):
        changed = token[:index] + ("A" if token[index] != "A" else "B") + token[index + 1 :]
        assert read_session_token(changed) in {None, Pass(ID, 7)}
        assert changed == token or read_session_token(changed) is None


@pytest.mark.parametrize("text", ["", "a:b:c", "x" * 500, "ÿ", "::", "null"])
def test_what_is_no_token_opens_nothing(text: str) -> None:
    assert read_session_token(text) is None


@pytest.mark.parametrize(
    "claims", [[], ["x", 1], [ID.hex], [ID.hex, "x"], {"a": 1}, 5, [ID.hex, 7, "job"], [None, None]]
)
def test_claims_of_another_shape_open_nothing(claims: object) -> None:
    assert read_stream_token(signing.dumps(claims, salt="chats.stream")) is None
