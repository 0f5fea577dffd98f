"""Claiming: jobs from the queue into the hands of parked polls, a statement pair per wake-up and not per miner."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from redis.exceptions import RedisError

from mia.lib import database
from mia.lib.redis import async_redis
from miners import fairness, fencing, streams
from miners.limits import AFFINITY_SEEN, FIRST_PROTOCOL_LEASE, OFFER
from miners.matching import Match, Seat, describe, match

WAKE_TOPIC: Final = "network:wake"
MOST_PER_CLAIM: Final = 64

Offer = dict[str, Any]


@dataclass(frozen=True)
class Claimed:
    """What one claim gave to whom; `is_exhausted` when the queue holds nothing more for these seats.

    `stale` seats were parked before their miners' trust, drain or limits changed and have to ask again.
    """

    offers: tuple[tuple[Seat, Offer], ...]
    stale: tuple[Seat, ...]
    is_exhausted: bool
    hold_ms: float | None


async def claim(seats: Sequence[Seat]) -> Claimed:
    """Takes as many queued jobs as the seats can hold, in claiming order, and makes each a fenced offer.

    Safe to repeat: an offer whose reply is lost runs out after five seconds and counts against nobody.
    """
    limit = min(sum(seat.free for seat in seats), MOST_PER_CLAIM)
    waiters = json.dumps(describe(seats))
    parameters = {"waiters": waiters, "limit": limit, "affinity_seen": AFFINITY_SEEN}

    async def work(connection: database.Connection) -> tuple[int, Match, list[Offer]]:
        for seat in seats:
            seat.given.clear()
        async with connection.transaction():
            candidates = await (await connection.execute(fencing.CANDIDATES, parameters)).fetchall()
            if not candidates:
                return 0, Match((), None), []
            matched = match(candidates, seats)
            return len(candidates), matched, await _offer(connection, matched)

    found, matched, offers = await database.run(work)
    if offers:
        await _open_streams(offers)
    by_job = {offer["id"]: offer for offer in offers}
    given = tuple((seat, by_job[job_id]) for job_id, seat in matched.pairs if job_id in by_job)
    stale = tuple({id(seat): seat for job_id, seat in matched.pairs if job_id not in by_job}.values())
    is_exhausted = found < limit and matched.hold_ms is None and not stale
    return Claimed(offers=given, stale=stale, is_exhausted=is_exhausted, hold_ms=matched.hold_ms)


async def _offer(connection: database.Connection, matched: Match) -> list[Offer]:
    if not matched.pairs:
        return []
    parameters = {
        "jobs": [job_id for job_id, _ in matched.pairs],
        "miners": [seat.profile.id for _, seat in matched.pairs],
        "models": [next(iter(seat.profile.model_ids), "") for _, seat in matched.pairs],
        "leases": [_first_lease(seat) for _, seat in matched.pairs],
        "acked": [seat.profile.is_first_protocol for _, seat in matched.pairs],
        "trusts": [int(seat.profile.trust) for _, seat in matched.pairs],
        "slots": [seat.slots for _, seat in matched.pairs],
    }
    return await (await connection.execute(fencing.OFFER, parameters)).fetchall()


def _first_lease(seat: Seat) -> timedelta:
    return FIRST_PROTOCOL_LEASE if seat.profile.is_first_protocol else OFFER


async def _open_streams(offers: Sequence[Offer]) -> None:
    try:
        await streams.open_streams(offers)
        await fairness.note_claimed(offers)
    except RedisError:
        return  # The answers come whole instead of word by word.


async def take_back(fences: Sequence[int]) -> None:
    """Puts offers whose miner went away before the reply at the head of the queue again; counts against nobody."""
    rows = await database.fetch(fencing.TAKE_BACK, {"fences": list(fences)})
    if rows:
        await wake()


async def skipped(seat: Seat) -> dict[str, int]:
    """Why the queued jobs are not for this miner: jobs by reason, of the first thousand."""
    rows = await database.fetch(fencing.SKIPPED, {"waiters": json.dumps(describe([seat]))})
    return {reason: count for reason, count in rows[0].items() if count}


async def wake() -> None:
    """Tells every web process that the queue has something; best effort, each looks every second anyway."""
    try:
        await async_redis().publish(streams.TOPIC_PREFIX + WAKE_TOPIC, "{}")
    except RedisError:
        return
