"""Where a reader stands, and what completes its text: the arithmetic behind the streams."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chats.consumers import encode, wait_of
from chats.following import Answer, Frame, Position, _ending, _remainder, _start
from chats.snapshots import Work
from mia.lib.errors import InvalidRequest
from mia.lib.hot import HotRequest
from miners.choices import JobState
from miners.streams import EntryKind, Replay, StreamEntry, text_of

JOB = uuid.uuid4()


def work(**fields: Any) -> Work:
    standard: dict[str, Any] = {
        "job_id": JOB,
        "state": JobState.COMPLETED,
        "attempt": 1,
        "model": "m",
        "output": "Thirty francs.",
        "tool_calls": [],
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "tokens_generated": 3,
        "error_code": "",
        "age_ms": 10,
        "message_id": 7,
        "citations": [],
        "masked_values": {},
    }
    return Work(**{**standard, **fields})


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("1.20", Position(1, 20)),
        ("0.0", Position(0, 0)),
        ("", None),
        ("1", None),
        ("1.", None),
        (".5", None),
        ("1.-5", None),
        ("1.5.6", None),
        ("a.b", None),
        ("².3", None),
        ("9999999999.1", None),
    ],
)
def test_a_place_is_read_or_ignored(text: str, position: Position | None) -> None:
    assert Position.parse(text) == position


@pytest.mark.parametrize(
    ("seen", "is_beyond"),
    [(Position(1, 5), False), (Position(1, 14), False), (Position(1, 15), True), (Position(3, 1), True)],
)
def test_a_place_that_cannot_be_in_the_answer_is_noticed(seen: Position, is_beyond: bool) -> None:
    assert seen.is_beyond(work()) is is_beyond


def test_only_the_end_of_an_ended_answer_is_all_of_it() -> None:
    assert Position(1, 14).has_all_of(work())
    assert not Position(1, 13).has_all_of(work())
    assert not Position(1, 14).has_all_of(work(state=JobState.RUNNING))
    assert not Position(0, 14).has_all_of(work())


@given(whole=st.text(max_size=200), cut=st.integers(0, 300), attempt=st.integers(1, 3))
def test_the_remainder_completes_whatever_beginning_a_reader_has(whole: str, cut: int, attempt: int) -> None:
    shown = (whole + "!" * 300)[:cut]
    replay = Replay(attempt, len(shown))
    entries = _remainder(replay, work(output=whole, attempt=attempt))
    had = [StreamEntry(EntryKind.DELTA, attempt, 0, shown)]
    assert text_of([*had, *entries]) == whole
    assert _remainder(replay, work(output=whole, attempt=attempt)) == []


def test_an_attempt_is_announced_once() -> None:
    answer = Answer()
    assert [frame.id for frame in _start(answer, JOB, 1, "m")] == ["1.0"]
    assert _start(answer, JOB, 1, "m") == []
    assert [frame.event["attempt"] for frame in _start(answer, JOB, 2, "m")] == [2]


@pytest.mark.parametrize(
    ("state", "kinds"),
    [
        (JobState.COMPLETED, ["done"]),
        (JobState.CANCELLED, ["done"]),
        (JobState.FAILED, ["error"]),
        (JobState.EXPIRED, ["error"]),
    ],
)
def test_every_ending_is_told(state: JobState, kinds: list[str]) -> None:
    assert [frame.event["type"] for frame in _ending(Answer(), work(state=state))] == kinds


def test_calls_are_told_before_the_end() -> None:
    frames = _ending(Answer(), work(tool_calls=[{"id": "c1"}]))
    assert [frame.event["type"] for frame in frames] == ["tool_call", "done"]


def test_an_event_is_one_line_of_data_whatever_is_in_it() -> None:
    encoded = encode(Frame({"type": "delta", "text": "a\nb\r\nc\u2028d"}, "1.9")).decode()
    assert encoded.startswith("event: delta\nid: 1.9\ndata: {")
    assert encoded.endswith("}\n\n")
    assert encoded.count("\n") == 4


def asking(query: str = "", prefer: str = "") -> HotRequest:
    headers = [(b"prefer", prefer.encode())] if prefer else []
    return HotRequest(scope={"method": "POST", "query_string": query.encode(), "headers": headers}, body=b"")


@pytest.mark.parametrize(
    ("query", "prefer", "seconds"),
    [
        ("wait=30", "", 30),
        ("wait=0", "", 0),
        ("wait=5&wait=7", "", 7),
        ("", "wait=12", 12),
        ("", "respond-async; wait=12", 12),
        ("", "return=minimal, WAIT=3", 3),
        ("wait=1", "wait=20", 1),
    ],
)
def test_the_wait_is_what_was_asked_for(query: str, prefer: str, seconds: int) -> None:
    assert wait_of(asking(query, prefer)) == seconds


@pytest.mark.parametrize(("query", "prefer"), [("wait=61", ""), ("wait=-1", ""), ("wait=x", ""), ("", "wait=soon")])
def test_a_wait_that_is_none_is_refused(query: str, prefer: str) -> None:
    with pytest.raises(InvalidRequest):
        wait_of(asking(query, prefer))
