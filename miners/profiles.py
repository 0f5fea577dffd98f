"""What the hot lane knows of a miner: read by key, remembered for a moment, so that a poll costs no query."""

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from accounts.choices import KeyKind
from accounts.keys import digest_key, key_matches, parse_key
from mia.lib import database
from mia.lib.errors import NotAuthenticated
from miners.choices import Lane, Trust
from miners.exceptions import MinerBanned

CACHE_S: Final = 2.0
CACHE_ENTRIES: Final = 20_000

BY_PREFIX: Final = """
SELECT id, name, trust, key_digest, model_ids, features, max_context, slots, max_slots, drain_requested, agent,
       pause_requested, lanes
FROM miners_miner WHERE key_prefix = %(prefix)s
"""


@dataclass(frozen=True)
class MinerProfile:
    """A miner as dispatch sees it."""

    id: int
    name: str
    trust: Trust
    model_ids: tuple[str, ...]
    features: tuple[str, ...]
    max_context: int
    slots: int
    drain_requested: bool
    is_first_protocol: bool
    pause_requested: bool = False
    lanes: tuple[int, ...] = tuple(Lane)

    @property
    def is_held_back(self) -> bool:
        """Staff want it to take nothing new."""
        return self.drain_requested or self.pause_requested


class ProfileCache:
    """Profiles by key digest, of one event loop; a change in the admin is seen within CACHE_S seconds."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, MinerProfile | None]] = OrderedDict()

    async def find(self, plain_key: str) -> MinerProfile | None:
        parsed = parse_key(plain_key)
        if parsed is None or parsed.kind != KeyKind.MINER:
            return None
        digest = digest_key(plain_key)
        entry = self._entries.get(digest)
        if entry is not None and time.monotonic() - entry[0] < CACHE_S:
            return entry[1]
        asked_at = time.monotonic()
        profile = await _read(parsed.prefix, plain_key)
        self._remember(digest, asked_at, profile)
        return profile

    def _remember(self, digest: str, asked_at: float, profile: MinerProfile | None) -> None:
        self._entries[digest] = (asked_at, profile)
        self._entries.move_to_end(digest)
        while len(self._entries) > CACHE_ENTRIES:
            self._entries.popitem(last=False)


_caches: dict[asyncio.AbstractEventLoop, ProfileCache] = {}


async def authenticate(plain_key: str) -> MinerProfile:
    """The miner that holds this key; raises NotAuthenticated or MinerBanned."""
    cache = _caches.setdefault(asyncio.get_running_loop(), ProfileCache())
    profile = await cache.find(plain_key)
    if profile is None:
        raise NotAuthenticated("A miner's key is required.")
    if profile.trust == Trust.BANNED:
        raise MinerBanned
    return profile


def forget_all() -> None:
    """Drops every remembered profile; for tests."""
    _caches.clear()


async def _read(prefix: str, plain_key: str) -> MinerProfile | None:
    for row in await database.fetch(BY_PREFIX, {"prefix": prefix}):
        if key_matches(plain_key, row["key_digest"]):
            return MinerProfile(
                id=row["id"],
                name=row["name"],
                trust=Trust(row["trust"]),
                model_ids=tuple(row["model_ids"]),
                features=tuple(row["features"]),
                max_context=row["max_context"],
                slots=min(row["slots"], row["max_slots"] or row["slots"]),
                drain_requested=row["drain_requested"],
                is_first_protocol=not row["agent"],
                pause_requested=row["pause_requested"],
                lanes=tuple(row["lanes"]),
            )
    return None
