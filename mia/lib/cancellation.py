"""Ending tasks for certain: in Python 3.11 a cancellation can be lost where `asyncio.wait_for` has just been served."""

import asyncio
from collections.abc import Iterable
from typing import Any, Final

ASK_AGAIN_S: Final = 0.1


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels until every task has ended; what they raised is dropped. psycopg and redis-py wait that way inside."""
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=ASK_AGAIN_S)
