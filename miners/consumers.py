"""The miners' hot lane: polls that wait, heartbeats, and streamed text."""

import asyncio
import json
import random
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Final

from redis.exceptions import RedisError

from mia.lib import database
from mia.lib.drain import drain
from mia.lib.errors import Forbidden
from mia.lib.hot import HotEndpoint, HotRequest, HotResponse
from mia.lib.redis import async_redis
from mia.lib.shapes import validated
from miners import dispatch, fencing, limits, presence, streams, wire
from miners.choices import JobPhase, JobState
from miners.handoff import Handed, handoff
from miners.matching import Seat
from miners.profiles import MinerProfile, authenticate
from miners.streams import Append, AppendCode, Appended
from miners.wire import Said

POLL_KEPT_S: Final = 30
MIN_DRAIN_WAIT_S: Final = 1.0

Row = dict[str, Any]


class NextJob(HotEndpoint):
    """`GET /job/next`: waits for work, at most 55 s."""

    methods: ClassVar[frozenset[str]] = frozenset({"GET"})

    async def handle(self, request: HotRequest) -> HotResponse:
        profile = await authenticate(request.bearer)
        asked = request.query if request.method == "GET" else request.json()
        poll = validated(wire.PollSerializer, asked)
        check_own_id(profile, poll.get("miner_id"))
        await presence.note_poll(profile)
        poll_id = request.headers.get("x-mia-poll", "")[:64]
        offers = await _offers_of_poll(profile, poll_id)
        if offers:
            return HotResponse(wire.poll_body(offers, skipped={}, cancel=(), profile=profile))
        seat = Seat(profile, slots=min(poll["slots"], profile.slots), idle=poll["idle"])
        handed = await _wait(seat, poll.get("wait", limits.POLL_WAIT.total_seconds()))
        await _remember_poll(profile, poll_id, handed)
        skipped = {} if handed.offers else await dispatch.skipped(seat)
        body = wire.poll_body(handed.offers, skipped=skipped, cancel=handed.cancelled, profile=profile)
        return HotResponse(body)


class ClaimJob(NextJob):
    """`POST /job/claim`: the same, asked for in a body."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})


async def _wait(seat: Seat, longest_s: float) -> Handed:
    if seat.profile.is_held_back or drain.is_draining:
        await asyncio.sleep(min(longest_s, MIN_DRAIN_WAIT_S))
        return Handed()
    return await handoff().wait(seat, longest_s * (1 - random.random() * limits.POLL_JITTER))  # noqa: S311


async def _offers_of_poll(profile: MinerProfile, poll_id: str) -> Sequence[Row]:
    """The offers that an earlier, lost reply to the same poll held, if nobody acknowledged them yet."""
    if not poll_id:
        return ()
    try:
        remembered = await async_redis().get(_poll_key(profile, poll_id))
    except RedisError:
        return ()
    if remembered is None:
        return ()
    return await database.fetch(OFFERS_BY_FENCE, {"fences": json.loads(remembered), "miner": profile.id})


async def _remember_poll(profile: MinerProfile, poll_id: str, handed: Handed) -> None:
    if not poll_id or not handed.offers:
        return
    fences = json.dumps([offer["fence"] for offer in handed.offers])
    try:
        await async_redis().set(_poll_key(profile, poll_id), fences, ex=POLL_KEPT_S)
    except RedisError:
        return


def _poll_key(profile: MinerProfile, poll_id: str) -> str:
    return f"mia:poll:{profile.id}:{poll_id}"


OFFERS_BY_FENCE: Final = f"""
SELECT {fencing.OFFER_FIELDS} FROM miners_job
WHERE fence = ANY (%(fences)s::bigint[]) AND miner_id = %(miner)s AND state = 'offered'
"""  # noqa: S608 - constants


class Heartbeat(HotEndpoint):
    """`POST /heartbeat`: presence, and the renewal of every lease in the miner's hands."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})

    async def handle(self, request: HotRequest) -> HotResponse:
        profile = await authenticate(request.bearer)
        beat = validated(wire.HeartbeatSerializer, request.json())
        check_own_id(profile, beat.get("miner_id"))
        slots = await presence.note_heartbeat(profile, beat)
        said = [Said(job["job_id"], job["fence"], job["phase"], progressed=False) for job in beat["jobs"]]
        rows = await renew(profile.id, said)
        return HotResponse(
            {
                "status": "ok",
                "timestamp": presence.timestamp(),
                "jobs": [
                    {"job_id": str(row["job"]), "verdict": verdict(row), "lease_ms": lease_ms(row)} for row in rows
                ],
                "drain": profile.drain_requested,
                "pause": profile.pause_requested,
                "config": None if slots is None else wire.config_body(slots),
            }
        )


class Chunks(HotEndpoint):
    """`POST /job/chunks`: one flush of text from all of a miner's jobs, each judged by itself."""

    methods: ClassVar[frozenset[str]] = frozenset({"POST"})

    async def handle(self, request: HotRequest) -> HotResponse:
        profile = await authenticate(request.bearer)
        pieces = wire.appends(validated(wire.ChunksSerializer, request.json()))
        appended = await _append(profile, pieces)
        verdicts = await _renew_from_chunks(profile, pieces, appended)
        replies = [
            {"job_id": str(piece.job_id), "verdict": verdicts[i], "next_offset": appended[i].next_offset}
            for i, piece in enumerate(pieces)
        ]
        return HotResponse({"jobs": replies, "flush_ms": wire.milliseconds(limits.FLUSH)})


async def _append(profile: MinerProfile, pieces: Sequence[Append]) -> list[Appended]:
    """Logs and publishes; without Redis everything is accepted unseen and the answer comes whole with its result."""
    if not pieces:
        return []
    try:
        appended = await streams.append(profile.id, pieces)
    except RedisError:
        return [Appended(AppendCode.OK, piece.offset + len(piece.text)) for piece in pieces]
    tokens = sum(piece.tokens for piece, reply in zip(pieces, appended, strict=True) if reply.code == AppendCode.OK)
    if tokens:
        streams.token_count().add(profile.id, tokens)
    return appended


_renewed_at: dict[int, float] = {}


async def _renew_from_chunks(
    profile: MinerProfile, pieces: Sequence[Append], appended: Sequence[Appended]
) -> list[str]:
    """Verdicts by position. PostgreSQL is asked about each job once a second, and whenever Redis does not know it."""
    verdicts = [str(reply.code) for reply in appended]
    now = time.monotonic()
    due = [i for i, piece in enumerate(pieces) if _is_due(piece, appended[i], now)]
    if not due:
        return verdicts
    said = [Said(pieces[i].job_id, pieces[i].fence, JobPhase.DECODE, progressed=bool(pieces[i].text)) for i in due]
    rows = {(row["job"], row["fence"]): row for row in await renew(profile.id, said)}
    for i in due:
        piece = pieces[i]
        verdicts[i] = await _judge(profile, piece, appended[i], rows[piece.job_id, piece.fence])
        _note_renewal(piece.fence, now, is_live=verdicts[i] in {AppendCode.OK, AppendCode.RANGE})
    return verdicts


def _is_due(piece: Append, reply: Appended, now: float) -> bool:
    if reply.code in {AppendCode.LOST, AppendCode.CANCEL}:
        return False
    if reply.code == AppendCode.UNKNOWN:
        return True
    return now - _renewed_at.get(piece.fence, 0.0) >= limits.RENEW_FROM_CHUNKS.total_seconds()


def _note_renewal(fence: int, now: float, *, is_live: bool) -> None:
    _renewed_at.pop(fence, None)
    if is_live:
        _renewed_at[fence] = now
    while len(_renewed_at) > limits.MAX_SLOTS * 1000:
        del _renewed_at[next(iter(_renewed_at))]


async def _judge(profile: MinerProfile, piece: Append, reply: Appended, row: Row) -> str:
    said = verdict(row)
    if said != "ok":
        return said
    if reply.code != AppendCode.UNKNOWN:
        return str(reply.code)
    try:
        await streams.reopen_stream(
            job_id=piece.job_id,
            fence=piece.fence,
            miner_id=profile.id,
            attempt=row["attempt_count"],
            topic=row["topic"],
        )
    except RedisError:
        return str(AppendCode.OK)
    return str(AppendCode.RANGE)


async def renew(miner_id: int, said: Sequence[Said]) -> list[Row]:
    """Acknowledges, renews or re-adopts; one row per job said, in no particular order."""
    if not said:
        return []
    parameters = {
        "miner": miner_id,
        "jobs": [one.job_id for one in said],
        "fences": [one.fence for one in said],
        "phases": [one.phase for one in said],
        "progressed": [one.progressed for one in said],
        "lease": limits.LEASE,
        "idle_lease": limits.IDLE_LEASE,
    }
    return await database.fetch(fencing.RENEW, parameters)


def verdict(row: Row) -> str:
    """ok; cancel, when the job ended under this very attempt; lost, when it is somebody else's or nobody's."""
    if row["renewed"]:
        return "ok"
    ended = {JobState.CANCELLED, JobState.EXPIRED, JobState.COMPLETED}
    return "cancel" if row["was_mine"] and row["state"] in ended else "lost"


def lease_ms(row: Row) -> int:
    if not row["renewed"]:
        return 0
    return wire.milliseconds(limits.IDLE_LEASE if row["has_long_lease"] else limits.LEASE)


def check_own_id(profile: MinerProfile, miner_id: int | None) -> None:
    """A miner may name itself and nobody else."""
    if miner_id is not None and miner_id != profile.id:
        raise Forbidden("This key belongs to another miner.")
