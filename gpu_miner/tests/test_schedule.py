"""The hours in which a miner works."""

from datetime import datetime

import pytest

from gpu_miner.schedule import Hours, parse_hours


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-29T{clock}").astimezone()


@pytest.mark.parametrize(
    ("hours", "clock", "works"),
    [
        ("22:00-08:00", "23:59", True),
        ("22:00-08:00", "00:00", True),
        ("22:00-08:00", "08:00", False),
        ("22:00-08:00", "21:59", False),
        ("9:00-12:00, 13:00-17:30", "12:30", False),
        ("9:00-12:00, 13:00-17:30", "17:29", True),
        ("20:00-24:00", "23:59", True),
        ("20:00-24:00", "00:00", False),
        ("", "04:00", True),
    ],
)
def test_a_time_is_inside_or_outside(hours: str, clock: str, *, works: bool) -> None:
    assert parse_hours(hours).hold(at(clock)) is works


@pytest.mark.parametrize("text", ["22-8", "25:00-08:00", "08:00-08:00", "08:00-24:01", "08:00", "a-b", "8:61-9:00"])
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="“"):
        parse_hours(text)


def test_hours_read_as_they_were_written() -> None:
    assert str(parse_hours("22:00-8:00")) == "22:00-08:00"
    assert str(Hours()) == "always"
