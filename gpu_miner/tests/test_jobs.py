"""One job in hand, and the table of all of them."""

import threading
import time

import pytest

from gpu_miner.engines.base import Delta
from gpu_miner.heartbeat import apply_verdict
from gpu_miner.jobs import Ending, Job, JobTable, Phase, end_all
from gpu_miner.protocol import Offer, Verdict


def job(fence: str = "1", job_id: str = "j", **offer: object) -> Job:
    return Job(Offer(job_id=job_id, fence=fence, **offer), on_first_text=lambda: None)  # type: ignore[arg-type]


def test_a_new_job_waits_for_its_acknowledgement() -> None:
    fresh = job()
    waiting: list[bool] = []
    thread = threading.Thread(target=lambda: waiting.append(fresh.wait_for_acknowledgement()))
    thread.start()
    assert not waiting
    fresh.acknowledge()
    thread.join(2)
    assert waiting == [True]
    assert fresh.phase is Phase.PREFILL


def test_an_ended_job_wakes_who_waits_for_it() -> None:
    fresh = job()
    fresh.end(Ending.UNACKNOWLEDGED)
    assert not fresh.wait_for_acknowledgement()
    assert fresh.pause(5)


def test_the_first_ending_counts() -> None:
    fresh = job()
    fresh.end(Ending.CANCELLED)
    fresh.end(Ending.LOST)
    assert fresh.ending is Ending.CANCELLED


def test_the_first_words_are_announced_once() -> None:
    announced: list[int] = []
    fresh = Job(Offer("j", "1"), on_first_text=lambda: announced.append(1))
    fresh.acknowledge()
    fresh.push(Delta("", 0))
    assert (announced, fresh.heartbeat()["phase"]) == ([], "prefill")
    fresh.push(Delta("a"))
    fresh.push(Delta("b"))
    assert (announced, fresh.heartbeat()) == ([1], {"job_id": "j", "fence": "1", "phase": "decode", "tokens": 2})


def test_words_after_the_end_are_not_taken() -> None:
    fresh = job()
    fresh.end(Ending.CANCELLED)
    fresh.push(Delta("late"))
    assert fresh.answer.text == ""
    assert fresh.next_chunk(100) is None


def test_the_engine_is_told_to_stop_once() -> None:
    fresh, stopped = job(), []
    fresh.on_cancel(lambda: stopped.append("early"))
    fresh.end(Ending.LOST)
    fresh.on_cancel(lambda: stopped.append("late"))
    assert stopped == ["early", "late"]


def test_a_finished_engine_is_not_told_to_stop() -> None:
    fresh, stopped = job(), []
    fresh.on_cancel(lambda: stopped.append("x"))
    fresh.finish()
    fresh.end(Ending.CANCELLED)
    assert stopped == []


def test_tool_deltas_are_sent_until_they_are_accepted() -> None:
    fresh = job()
    fresh.push(Delta("", 1, ({"index": 0},)))
    first, again = fresh.next_chunk(100), fresh.next_chunk(100)
    assert first == again
    assert first is not None
    assert first["tool_delta"] == [{"index": 0}]
    fresh.chunk_accepted(first, None)
    assert fresh.next_chunk(100) is None


def test_an_offer_expires_only_before_its_acknowledgement() -> None:
    fresh = job(offer_ms=0)
    time.sleep(0.01)
    assert fresh.offer_expired
    fresh.acknowledge()
    assert not fresh.offer_expired


@pytest.mark.parametrize(
    ("verdict", "finished", "ending"),
    [
        ("ok", False, None),
        ("cancel", False, Ending.CANCELLED),
        ("lost", False, Ending.LOST),
        ("cancel", True, Ending.CANCELLED),
        ("lost", True, None),
        ("what?", False, None),
    ],
)
def test_verdicts(verdict: str, ending: Ending | None, *, finished: bool) -> None:
    fresh = job()
    if finished:
        fresh.finish()
    apply_verdict(fresh, Verdict("j", verdict))
    assert fresh.ending is ending


def test_a_slot_is_free_before_the_result_is_delivered() -> None:
    table, fresh = JobTable(), job()
    assert table.add(fresh)
    assert table.slots_used == 1
    fresh.finish()
    table.release_slot(fresh)
    assert (table.slots_used, table.undelivered, table.is_empty) == (0, 1, False)
    table.remove(fresh)
    assert table.is_empty


def test_an_offer_is_taken_once_even_after_its_end() -> None:
    table, fresh = JobTable(), job()
    assert table.add(fresh)
    table.release_slot(fresh)
    table.remove(fresh)
    assert not table.add(job())


def test_a_newer_attempt_ends_the_older_one() -> None:
    table, old, new = JobTable(), job("1"), job("2")
    table.add(old)
    table.add(new)
    assert (old.ending, new.ending) == (Ending.LOST, None)
    assert table.by_id("j") == [old, new]


def test_ending_all_ends_all() -> None:
    jobs = [job("1"), job("2")]
    end_all(jobs, Ending.STOPPED)
    assert {each.ending for each in jobs} == {Ending.STOPPED}
