"""The status line."""

import io
import time
from dataclasses import replace

import pytest

from gpu_miner.protocol import GpuLoad
from gpu_miner.status import CLEAR_LINE, Situation, StatusLine, Tally, in_words

CALM = Situation("gpu-1", "idle", running=0, slots=4, done=7, failed=0, tokens_per_s=0.0, uptime_s=3723)


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_the_line_reads_like_a_sentence() -> None:
    load: GpuLoad = {"memory_used_mb": 6349, "memory_total_mb": 24576, "utilization": 97, "temperature": 63}
    busy = replace(CALM, state="busy", running=2, failed=1, tokens_per_s=41.26, load=load, earned_usd=1.25)
    expected = (
        "gpu-1: busy · jobs 2/4 · 7 done, 1 failed · 41.3 tok/s · 6.2/24 GB · 63 °C · $1.2500 earned · up 1 h 02 min"
    )
    assert str(busy) == expected


def test_a_pause_says_why() -> None:
    assert str(replace(CALM, state="paused", reasons="too hot")).startswith("gpu-1: paused (too hot) ·")


def test_nothing_is_said_about_failures_that_did_not_happen() -> None:
    assert "failed" not in str(CALM)
    assert "°C" not in str(CALM)


def test_on_a_terminal_the_line_stays_in_place() -> None:
    out = Terminal()
    line = StatusLine(out)
    line.show(CALM)
    line.show(CALM)
    line.close()
    assert out.getvalue() == f"{CLEAR_LINE}{CALM}{CLEAR_LINE}{CALM}\n"


def test_in_a_log_only_news_is_written() -> None:
    out = io.StringIO()
    line = StatusLine(out)
    for _ in range(5):
        line.show(CALM)
    line.show(replace(CALM, state="busy", running=1))
    line.show(replace(CALM, state="reconnecting", running=1))
    line.show(replace(CALM, state="reconnecting", running=1, done=8))
    assert out.getvalue().count("\n") == 2


def test_in_a_log_work_is_told_now_and_then() -> None:
    out = io.StringIO()
    line = StatusLine(out, log_every_s=0)
    line.show(CALM)
    line.show(CALM)
    line.show(replace(CALM, done=8))
    assert out.getvalue().count("\n") == 2


def test_the_rate_counts_running_and_finished_jobs() -> None:
    tally = Tally()
    tally.tokens_written(10)
    time.sleep(0.1)
    assert tally.tokens_per_s(running_tokens=5) == pytest.approx(15 / tally.uptime_s, rel=0.2)


@pytest.mark.parametrize(
    ("answered", "delivered", "counts"),
    [(True, True, (1, 0, 0)), (False, True, (0, 1, 0)), (True, False, (0, 0, 1)), (False, False, (0, 0, 1))],
)
def test_each_job_is_counted_once(counts: tuple[int, int, int], *, answered: bool, delivered: bool) -> None:
    tally = Tally()
    tally.count(answered=answered, delivered=delivered)
    assert (tally.done, tally.failed, tally.dropped) == counts


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (65, "1 min 05 s"), (3700, "1 h 01 min"), (200_000, "2 d 07 h")]
)
def test_durations_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
