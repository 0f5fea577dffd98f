"""Rate limits: one token bucket in one Lua script, on the clock of Redis, for DRF, services and coroutines alike.

The bucket is kept as the moment at which it will be full again (the generic cell rate algorithm): one number per key,
so a check and its debit cannot come apart however many processes ask at once.
"""

import asyncio
import hashlib
import logging
import math
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import ClassVar, Final, cast

from redis.exceptions import RedisError
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from rest_framework.views import APIView

from mia.lib.errors import RateLimited, Unavailable
from mia.lib.redis import async_redis, sync_redis

logger = logging.getLogger(__name__)

# Returns the milliseconds to wait, 0 when the tokens were taken.
TAKE_SCRIPT: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + clock[2] / 1000
local ms_per_token, burst, cost = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now) + cost * ms_per_token
local wait = full_at - burst * ms_per_token - now
if wait > 0.001 then return math.ceil(wait) end
if full_at <= now then redis.call('DEL', KEYS[1]) return 0 end
redis.call('SET', KEYS[1], string.format('%.3f', full_at), 'PX', math.ceil(full_at - now) + 1)
return 0
"""

REDIS_TIMEOUT_S: Final = 1.0
REDIS_PAUSE_S: Final = 1.0
LONGEST_KEY: Final = 80


@dataclass(frozen=True)
class Bucket:
    """A limit: `burst` at once, refilled at `rate_per_s`. With `fail_closed` it refuses while Redis is down."""

    name: str
    rate_per_s: float
    burst: int
    fail_closed: bool = False

    def redis_key(self, key: str) -> str:
        """Where one holder's bucket is kept; long keys, which callers may have from outside, are hashed."""
        short = key if len(key) <= LONGEST_KEY else hashlib.sha256(key.encode()).hexdigest()
        return f"mia:limit:{self.name}:{short}"


@dataclass(frozen=True)
class Decision:
    """Whether the request may go on; if not, when to ask again, and whether it was Redis that was missing."""

    allowed: bool
    retry_after_ms: int = 0
    limiter_down: bool = False

    @property
    def retry_after_s(self) -> int:
        return math.ceil(self.retry_after_ms / 1000)

    def require(self) -> None:
        """Raises RateLimited, or Unavailable when a limit that fails closed could not be checked."""
        if self.allowed:
            return
        if self.limiter_down:
            raise Unavailable(retry_after_s=self.retry_after_s)
        raise RateLimited(retry_after_s=self.retry_after_s)


class RedisPause:
    """Remembers that Redis did not answer and lets it rest for a second, so that not every request waits for it."""

    def __init__(self) -> None:
        self._until = 0.0

    @property
    def active(self) -> bool:
        return time.monotonic() < self._until

    def begin(self, error: Exception) -> None:
        self._until = time.monotonic() + REDIS_PAUSE_S
        logger.warning("Rate limits are not checked, Redis does not answer: %s", type(error).__name__)

    def end(self) -> None:
        """Ends the pause at once; for tests that bring Redis back."""
        self._until = 0.0


redis_pause: Final = RedisPause()


def take(bucket: Bucket, key: str, cost: float = 1) -> Decision:
    """Takes `cost` tokens from the holder's bucket, or none of them; a negative cost gives tokens back."""
    if redis_pause.active:
        return _undecided(bucket)
    try:
        wait_ms = sync_redis(timeout_s=REDIS_TIMEOUT_S).eval(TAKE_SCRIPT, 1, *_arguments(bucket, key, cost))
    except RedisError as error:
        redis_pause.begin(error)
        return _undecided(bucket)
    return _decision(wait_ms)


async def atake(bucket: Bucket, key: str, cost: float = 1) -> Decision:
    """`take` for coroutines."""
    if redis_pause.active:
        return _undecided(bucket)
    try:
        async with asyncio.timeout(REDIS_TIMEOUT_S):
            reply = async_redis().eval(TAKE_SCRIPT, 1, *_arguments(bucket, key, cost))
            wait_ms = await cast("Awaitable[object]", reply)
    except (RedisError, TimeoutError) as error:
        redis_pause.begin(error)
        return _undecided(bucket)
    return _decision(wait_ms)


def _arguments(bucket: Bucket, key: str, cost: float) -> tuple[str, ...]:
    return bucket.redis_key(key), repr(1000 / bucket.rate_per_s), str(bucket.burst), str(cost)


def _decision(wait_ms: object) -> Decision:
    wait = int(str(wait_ms))
    return Decision(allowed=wait == 0, retry_after_ms=wait)


def _undecided(bucket: Bucket) -> Decision:
    if bucket.fail_closed:
        return Decision(allowed=False, retry_after_ms=int(REDIS_PAUSE_S * 1000), limiter_down=True)
    return Decision(allowed=True, limiter_down=True)


class BucketThrottle(BaseThrottle):
    """A bucket behind DRF's throttle interface; subclasses name the bucket and, by `holder`, who shares it."""

    bucket: ClassVar[Bucket]
    _decision: Decision | None = None

    def holder(self, request: Request, view: APIView) -> str | None:
        """Whose bucket it is: by default the client's address. None is not limited."""
        return self.get_ident(request)

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Takes one token; raises Unavailable when the limit fails closed and Redis is down."""
        holder = self.holder(request, view)
        if holder is None:
            return True
        self._decision = take(self.bucket, holder)
        if self._decision.limiter_down:
            self._decision.require()
        return self._decision.allowed

    def wait(self) -> float | None:
        return self._decision.retry_after_s if self._decision else None
