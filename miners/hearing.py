"""Whether the platform could hear its miners at all: silence is charged to a miner only where somebody listened.

Web processes that hand out jobs sign for it every second. While none does, or while the dispatcher itself was held up
(PostgreSQL away, the machine asleep), nothing is known about the miners; afterwards they are given time to be heard
again before any lease or stall counts. No job is kept waiting by that: without a web process nobody could take it.
"""

import time
from collections.abc import Callable
from typing import Final

from redis.exceptions import RedisError

from mia.lib.redis import async_redis, sync_redis
from miners.limits import HEARD_AGAIN

SIGN_KEY: Final = "mia:web:sign"
SIGN_KEPT_MS: Final = 3000
LONGEST_ROUND_S: Final = 3.0


async def sign() -> None:
    """A web process says that it listens."""
    try:
        await async_redis().set(SIGN_KEY, "1", px=SIGN_KEPT_MS)
    except RedisError:
        return


class Hearing:
    """The dispatcher's memory of when nobody could be heard; one that starts may follow an outage."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaf_at = self._round_at = clock()

    def note_outage(self) -> None:
        self._deaf_at = self._clock()

    def listen(self) -> bool:
        """Once per round: whether a silence may be charged to whoever is silent."""
        now = self._clock()
        if now - self._round_at > LONGEST_ROUND_S or not _somebody_signed():
            self._deaf_at = now
        self._round_at = now
        return now - self._deaf_at >= HEARD_AGAIN.total_seconds()


def _somebody_signed() -> bool:
    """Without Redis nobody can tell, and work goes on as usual."""
    try:
        return bool(sync_redis().exists(SIGN_KEY))
    except RedisError:
        return True
