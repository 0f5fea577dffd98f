"""The queue as those who wait in it are told: one statement a second, however many streams wait."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from mia.lib import database
from mia.lib.per_loop import PerLoop
from miners.limits import MINER_OFFLINE, NO_CAPACITY_NOTICE
from miners.services import TYPICAL_JOB_MS

READ_EVERY_S: Final = 1.0

# rank() counts those that are strictly ahead, as miners.services.queue_position does.
QUEUE: Final = """
SELECT j.id, rank() OVER (ORDER BY j.lane, j.virtual_start) AS position,
       j.created_at < clock_timestamp() - %(patience)s::interval AND NOT EXISTS (
           SELECT 1 FROM miners_miner m
           WHERE m.last_active > now() - %(offline)s::interval AND m.status NOT IN ('offline', 'draining', 'paused')
             AND m.trust >= greatest(j.min_trust, 1) AND m.max_context >= j.context_tokens + j.max_tokens
             AND m.features @> j.features AND (j.model = '' OR j.model = ANY (m.model_ids))
       ) AS is_stranded,
       (SELECT coalesce(sum(slots), 0) FROM miners_miner WHERE status IN ('idle', 'busy')) AS slots
FROM miners_job j WHERE j.state = 'queued' AND j.lane = 0
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued job stands; stranded when it has waited long and no miner online could do it."""

    position: int
    eta_ms: int
    is_stranded: bool = False

    @classmethod
    def of(cls, position: int, slots: int, *, is_stranded: bool = False) -> Place:
        return cls(position, int(position * TYPICAL_JOB_MS / max(slots, 1)), is_stranded)


class WaitingRoom:
    """The places in the queue, of one event loop, at most a second old."""

    def __init__(self) -> None:
        self._places: dict[UUID, Place] = {}
        self._read_at = float("-inf")
        self._lock = asyncio.Lock()

    async def place_of(self, job_id: UUID) -> Place | None:
        """None once the job has left the queue. Raises Unavailable."""
        async with self._lock:
            asked_at = time.monotonic()
            if asked_at - self._read_at >= READ_EVERY_S:
                self._places = await _read_places()
                self._read_at = asked_at
        return self._places.get(job_id)


async def _read_places() -> dict[UUID, Place]:
    rows = await database.fetch(QUEUE, {"patience": NO_CAPACITY_NOTICE, "offline": MINER_OFFLINE})
    return {row["id"]: Place.of(row["position"], row["slots"], is_stranded=row["is_stranded"]) for row in rows}


waiting_room: Final = PerLoop(WaitingRoom)
