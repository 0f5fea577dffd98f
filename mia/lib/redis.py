"""Redis clients: one per process for threads, one per event loop for coroutines.

Everything in Redis may vanish without losing a job, so a caller catches `redis.exceptions.RedisError` and goes on
without. All keys start with `mia:`.
"""

import asyncio
import functools

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

SOCKET_TIMEOUT_S = 5.0
CONNECT_TIMEOUT_S = 2.0
SYNC_CONNECTIONS = 64
ASYNC_CONNECTIONS = 64

_async_clients: dict[tuple[asyncio.AbstractEventLoop, str], redis.asyncio.Redis] = {}


def sync_redis(*, timeout_s: float = SOCKET_TIMEOUT_S) -> redis.Redis:
    """The client for threads; `timeout_s` shorter than usual for callers that rather go without than wait."""
    return _sync_client(str(settings.REDIS_URL), timeout_s)


def async_redis() -> redis.asyncio.Redis:
    loop = asyncio.get_running_loop()
    key = (loop, str(settings.REDIS_URL))
    if key not in _async_clients:
        _forget_closed_loops()
        _async_clients[key] = _async_client(key[1])
    return _async_clients[key]


async def close_async_redis() -> None:
    """Closes the running loop's clients; for shutdown and for tests that own their loop."""
    loop = asyncio.get_running_loop()
    for key in [key for key in _async_clients if key[0] is loop]:
        await _async_clients.pop(key).aclose()


def _forget_closed_loops() -> None:
    for key in [key for key in _async_clients if key[0].is_closed()]:
        del _async_clients[key]


@functools.cache
def _sync_client(url: str, timeout_s: float) -> redis.Redis:
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=SYNC_CONNECTIONS,
        timeout=CONNECT_TIMEOUT_S,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, CONNECT_TIMEOUT_S),
        decode_responses=True,
        # One immediate retry outlives a restart of Redis; the library's default waits for seconds when it is down.
        retry=Retry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return redis.Redis.from_pool(pool)


def _async_client(url: str) -> redis.asyncio.Redis:
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=ASYNC_CONNECTIONS,
        timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        decode_responses=True,
        retry=AsyncRetry(NoBackoff(), 1, supported_errors=(redis.ConnectionError,)),
    )
    return redis.asyncio.Redis.from_pool(pool)
