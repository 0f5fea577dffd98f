"""Numbers and times as people say them."""

from datetime import UTC, datetime, timedelta

import pytest

from mia.lib import phrases

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("back", "said"),
    [
        (timedelta(milliseconds=300), "now"),
        (timedelta(seconds=2), "2 s ago"),
        (timedelta(minutes=3, seconds=59), "3 min ago"),
        (timedelta(hours=47), "47 h ago"),
        (timedelta(days=2), "2 days ago"),
        (timedelta(seconds=-5), "now"),
    ],
)
def test_a_moment_is_said_in_one_unit(back: timedelta, said: str) -> None:
    assert phrases.ago(NOW - back, NOW) == said


def test_what_never_happened_is_said_to_be_never() -> None:
    assert phrases.ago(None, NOW) == "never"


@pytest.mark.parametrize(
    ("length", "said"),
    [
        (85, "85 ms"),
        (999.4, "999 ms"),
        (1400, "1.4 s"),
        (timedelta(seconds=12.6), "13 s"),
        (timedelta(seconds=125), "2 min 5 s"),
        (timedelta(hours=3, minutes=4), "3 h 4 min"),
        (timedelta(seconds=-1), "0 ms"),
        (None, "–"),
    ],
)
def test_a_length_of_time_has_at_most_two_units(length: timedelta | float | None, said: str) -> None:
    assert phrases.span(length) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (0, "0"),
        (950, "950"),
        (12400, "12,400"),
        (1_234_567, "1.2 M"),
        (3e9, "3.0 G"),
        (12.34, "12.3"),
        (177.4, "177"),
        (None, "–"),
    ],
)
def test_a_number_fits_into_a_tile(number: float | None, said: str) -> None:
    assert phrases.count(number) == said


def test_a_share_of_nothing_is_no_number() -> None:
    assert (phrases.share(1, 3), phrases.share(0, 0)) == ("33 %", "–")


def test_memory_is_said_in_the_unit_that_people_buy_it_in() -> None:
    assert (phrases.memory(24564), phrases.memory(512), phrases.memory(None)) == ("24 GB", "512 MB", "–")
