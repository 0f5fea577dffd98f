"""The hand-off: one loop per web process keeps its parked polls in a queue and claims for all of them at once.

Waking every parked miner for every job is a stampede (measured with 300 parked: 60,857 claims for 200 jobs, p99 4 s).
Here a wake-up costs one claim, and a poll that arrives when its kind of miner was just found to be without work
costs none.
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import RedisError

from mia.lib.cancellation import end_tasks
from mia.lib.drain import drain
from mia.lib.errors import Unavailable
from mia.lib.redis import async_redis
from miners import hearing
from miners.dispatch import WAKE_TOPIC, Offer, claim, take_back
from miners.hub import hub
from miners.matching import Seat

logger = logging.getLogger(__name__)

FALLBACK_S: Final = 1.0
RETRY_S: Final = 0.25
SHORTEST_WAIT_S: Final = 1.0
CLAIMS_KEY: Final = "mia:stat:claims"


@dataclass(frozen=True)
class Handed:
    """What a parked poll is answered with."""

    offers: tuple[Offer, ...] = ()
    cancelled: tuple[str, ...] = ()


@dataclass(eq=False)
class Parked:
    """A poll that waits; an impatient one is answered as soon as one claim found nothing for it."""

    seat: Seat
    is_impatient: bool
    answer: asyncio.Future[Handed] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


class HandOff:
    """The parked polls of one event loop, longest parked first."""

    def __init__(self) -> None:
        self._claims = 0
        self._report_due_at = 0.0
        self._sign_due_at = 0.0
        self._parked: list[Parked] = []
        self._nudge = asyncio.Event()
        self._idle_kinds: set[tuple[object, ...]] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def wait(self, seat: Seat, timeout_s: float) -> Handed:
        """Parks until there is work, a cancellation or nothing. A wait that is cancelled gives its offers back."""
        self._start()
        parked = Parked(seat, is_impatient=timeout_s < SHORTEST_WAIT_S)
        self._parked.append(parked)
        if parked.is_impatient or seat.capability not in self._idle_kinds:
            self._nudge.set()
        try:
            # Not wait_for: before Python 3.12 it swallows a cancellation that comes with the answer.
            await asyncio.wait([parked.answer], timeout=max(timeout_s, SHORTEST_WAIT_S))
            return parked.answer.result() if parked.answer.done() else Handed()
        except asyncio.CancelledError:
            if parked.answer.done() and parked.answer.result().offers:
                _take_back_later([offer["fence"] for offer in parked.answer.result().offers])
            raise
        finally:
            if parked in self._parked:
                self._parked.remove(parked)
            if not parked.answer.done():
                parked.answer.cancel()

    def release_all(self) -> None:
        """Answers every parked poll with nothing, at once: the process is about to end."""
        for parked in self._parked:
            _answer(parked, Handed())
        self._parked.clear()

    async def close(self) -> None:
        self.release_all()
        await end_tasks(self._tasks)
        self._tasks.clear()

    def _start(self) -> None:
        if not self._tasks or any(task.done() for task in self._tasks):
            for task in self._tasks:
                task.cancel()
            self._tasks = [
                asyncio.create_task(self._listen(), name="handoff-listen"),
                asyncio.create_task(self._claim_forever(), name="handoff-claim"),
            ]

    async def _listen(self) -> None:
        async with hub().listen(WAKE_TOPIC) as inbox:
            while True:
                event = await inbox.get(FALLBACK_S)
                await self._sign()
                if event and "cancel" in event:
                    self._pass_on_cancellation(event)
                    continue
                if event is None:
                    inbox.clear_gap()
                # News, a gap, or a second of silence: look again, for all kinds.
                self._idle_kinds.clear()
                if self._parked:
                    self._nudge.set()

    async def _sign(self) -> None:
        now = time.monotonic()
        if now >= self._sign_due_at:
            self._sign_due_at = now + FALLBACK_S * 0.8
            await hearing.sign()

    def _pass_on_cancellation(self, event: dict[str, Any]) -> None:
        for parked in self._parked:
            if parked.seat.profile.id == event.get("miner"):
                self._parked.remove(parked)
                _answer(parked, Handed(cancelled=(str(event["cancel"]),)))
                return

    async def _claim_forever(self) -> None:
        while True:
            await self._nudge.wait()
            self._nudge.clear()
            try:
                await self._claim_while_there_is_work()
                await self._report_claims()
            except Unavailable:
                await asyncio.sleep(RETRY_S)
                self._nudge.set()
            except Exception:
                logger.exception("The hand-off failed and goes on")
                await asyncio.sleep(RETRY_S)
                self._nudge.set()

    async def _claim_while_there_is_work(self) -> None:
        while self._parked:
            asked = list(self._parked)
            self._claims += 1
            claimed = await claim([parked.seat for parked in asked])
            self._hand_out(asked, claimed.offers)
            self._let_go(parked for parked in asked if parked.seat in claimed.stale)
            if claimed.hold_ms is not None:
                asyncio.get_running_loop().call_later(claimed.hold_ms / 1000, self._nudge.set)
            if claimed.is_exhausted:
                self._idle_kinds.update(parked.seat.capability for parked in asked)
            if claimed.is_exhausted or not (claimed.offers or claimed.stale):
                self._let_go(parked for parked in asked if parked.is_impatient)
                return

    async def _report_claims(self) -> None:
        """Claims per job show a stampede; they are added up in Redis, at most once a second."""
        now = time.monotonic()
        if now < self._report_due_at or not self._claims:
            return
        claims, self._claims, self._report_due_at = self._claims, 0, now + FALLBACK_S
        try:
            await async_redis().incrby(CLAIMS_KEY, claims)
        except RedisError:
            return

    def _let_go(self, polls: Iterable[Parked]) -> None:
        for parked in polls:
            if parked in self._parked:
                self._parked.remove(parked)
                _answer(parked, Handed())

    def _hand_out(self, asked: list[Parked], offers: tuple[tuple[Seat, Offer], ...]) -> None:
        by_seat: dict[int, list[Offer]] = {}
        for seat, offer in offers:
            by_seat.setdefault(id(seat), []).append(offer)
        for parked in asked:
            given = by_seat.get(id(parked.seat))
            if given is None:
                continue
            if parked in self._parked:
                self._parked.remove(parked)
            if not _answer(parked, Handed(offers=tuple(given))):
                _take_back_later([offer["fence"] for offer in given])


def _answer(parked: Parked, handed: Handed) -> bool:
    """Whether the poll was still there to be answered."""
    if parked.answer.done():
        return False
    parked.answer.set_result(handed)
    return True


_background: set[asyncio.Task[None]] = set()


def _take_back_later(fences: list[int]) -> None:
    task = asyncio.create_task(take_back(fences), name="take-back")
    _background.add(task)
    task.add_done_callback(_background.discard)


_handoffs: dict[asyncio.AbstractEventLoop, HandOff] = {}


def handoff() -> HandOff:
    """The running event loop's hand-off; it lets go of its polls when the process drains."""
    loop = asyncio.get_running_loop()
    if loop not in _handoffs:
        _handoffs[loop] = HandOff()
        drain.subscribe(_handoffs[loop].release_all)
    return _handoffs[loop]


async def close_handoff() -> None:
    """Ends the running event loop's hand-off, if it has one."""
    instance = _handoffs.pop(asyncio.get_running_loop(), None)
    if instance is not None:
        await instance.close()
