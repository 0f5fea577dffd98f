"""Draining: who waits for it hears of it, once."""

import asyncio
import threading

import pytest

from mia.lib.drain import Drain


def test_subscribers_are_called_once_in_their_order() -> None:
    drain, heard = Drain(), []
    drain.subscribe(lambda: heard.append("first"))
    drain.subscribe(lambda: heard.append("second"))
    drain.begin()
    drain.begin()
    assert heard == ["first", "second"]


def test_who_has_left_is_not_called() -> None:
    drain, heard = Drain(), []
    drain.subscribe(lambda: heard.append("left"))()
    drain.begin()
    assert heard == []


def test_who_comes_late_is_called_at_once() -> None:
    drain, heard = Drain(), []
    drain.begin()
    drain.subscribe(lambda: heard.append("late"))()
    assert heard == ["late"]


def test_subscriber_may_leave_while_it_is_called() -> None:
    drain, left = Drain(), []
    leave = drain.subscribe(lambda: left.append(leave()))
    drain.begin()
    assert left == [None]


@pytest.mark.asyncio
async def test_waiting_ends_when_another_thread_begins() -> None:
    drain = Drain()
    waiting = [asyncio.create_task(drain.wait()) for _ in range(3)]
    await asyncio.sleep(0)
    threading.Thread(target=drain.begin).start()
    await asyncio.wait_for(asyncio.gather(*waiting), 5)


@pytest.mark.asyncio
async def test_cancelled_wait_leaves_nothing_behind() -> None:
    drain = Drain()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(drain.wait(), 0.01)
    assert drain._callbacks == {}
