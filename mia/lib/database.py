"""The hot lane's own small PostgreSQL pool: asynchronous, autocommitting, in platform scope.

Its connections are never lent to request handlers, so the scope they are born with cannot leak into one. Commits on
it do not wait for the disk: a claim, a renewal or an offer that a crash forgets is a lease that runs out, nothing
more. What must not be forgotten (a submitted job, an accepted result) is committed elsewhere, durably.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from mia.lib.errors import Unavailable

Connection = psycopg.AsyncConnection[DictRow]
HotPool = AsyncConnectionPool[Connection]
Result = TypeVar("Result")

SESSION_OPTIONS: Final = "-c app.platform=on -c synchronous_commit=off -c statement_timeout=10000"
POOL_TIMEOUT_S: Final = 3.0
CONNECT_PARAMETERS: Final = ("dbname", "user", "password", "host", "port", "sslmode", "sslrootcert")

_pools: dict[asyncio.AbstractEventLoop, HotPool] = {}


async def run(work: Callable[[Connection], Awaitable[Result]]) -> Result:
    """Runs `work` on a pooled connection; raises Unavailable when PostgreSQL is away.

    A restart of PostgreSQL leaves dead connections in the pool, each of which fails once. `work` is therefore tried
    until every one of them can have been met, and has to be safe to repeat.
    """
    pool = await _open_pool()
    for _ in range(settings.HOT_POOL_SIZE + 1):
        try:
            async with pool.connection(timeout=POOL_TIMEOUT_S) as database:
                return await work(database)
        except PoolTimeout as error:
            raise Unavailable from error
        except psycopg.OperationalError as error:
            last = error
    raise Unavailable from last


async def fetch(sql: str, parameters: dict[str, Any]) -> list[DictRow]:
    """One statement in a transaction of its own; its rows as dictionaries."""

    async def work(database: Connection) -> list[DictRow]:
        cursor = await database.execute(sql, parameters)
        return await cursor.fetchall()

    return await run(work)


async def close_pool() -> None:
    """Closes this event loop's pool, if it has one."""
    pool = _pools.pop(asyncio.get_running_loop(), None)
    if pool is not None:
        await pool.close(timeout=2)


async def _open_pool() -> HotPool:
    loop = asyncio.get_running_loop()
    pool = _pools.get(loop)
    if pool is None:
        pool = _pools[loop] = _new_pool()
        await pool.open()
    return pool


def _new_pool() -> HotPool:
    given = connection.get_connection_params()
    parameters = {name: given[name] for name in CONNECT_PARAMETERS if given.get(name)}
    return AsyncConnectionPool(
        kwargs={
            **parameters,
            "options": SESSION_OPTIONS,
            "autocommit": True,
            "row_factory": dict_row,
            "connect_timeout": 3,
        },
        connection_class=psycopg.AsyncConnection[DictRow],
        min_size=1,
        max_size=settings.HOT_POOL_SIZE,
        open=False,
        reconnect_timeout=30,
        name="hot",
    )


def json_value(data: object | None) -> str | None:
    """A parameter for a jsonb column; None stays NULL."""
    return None if data is None else json.dumps(data)
