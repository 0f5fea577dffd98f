"""Who is there: a miner's last sign of life, its status and its GPU."""

import time
from collections.abc import Mapping
from typing import Any, Final

from django.utils import timezone

from mia.lib import database
from miners.profiles import MinerProfile

NOTE_POLLS_EVERY_S: Final = 5.0

NOTE_POLL: Final = """
UPDATE miners_miner
SET last_active = now(), status = CASE WHEN status IN ('offline', 'draining', 'paused') THEN 'idle' ELSE status END
WHERE id = %(miner)s RETURNING id
"""

# `config_pending` of the row as it was: the reply that carries the new limits also clears the mark.
NOTE_HEARTBEAT: Final = """
WITH before AS (SELECT id, config_pending FROM miners_miner WHERE id = %(miner)s)
UPDATE miners_miner m
SET last_active = now(), status = %(status)s, slots_free = %(slots_free)s, config_pending = false,
    gpu_stats = CASE WHEN %(gpu)s::jsonb IS NULL THEN m.gpu_stats ELSE %(gpu)s::jsonb END
FROM before WHERE m.id = before.id
RETURNING before.config_pending, least(m.slots, nullif(m.max_slots, 0)) AS slots
"""

_noted_at: dict[int, float] = {}


async def note_poll(profile: MinerProfile) -> None:
    """A poll is a sign of life, written at most every five seconds."""
    now = time.monotonic()
    if now - _noted_at.get(profile.id, -NOTE_POLLS_EVERY_S) < NOTE_POLLS_EVERY_S:
        return
    _noted_at[profile.id] = now
    await database.fetch(NOTE_POLL, {"miner": profile.id})


async def note_heartbeat(profile: MinerProfile, beat: Mapping[str, Any]) -> int | None:
    """How many jobs the miner may have at once, if it has to be told so again; the profile may be older than that."""
    gpu = database.json_value(beat.get("gpu") or None)
    parameters = {"miner": profile.id, "status": beat["status"], "slots_free": beat["slots_free"], "gpu": gpu}
    rows = await database.fetch(NOTE_HEARTBEAT, parameters)
    return int(rows[0]["slots"]) if rows and rows[0]["config_pending"] else None


def timestamp() -> str:
    return timezone.now().isoformat().replace("+00:00", "Z")
