"""Work beside the caller's transaction: what it puts on the network is seen at once, and it has so long to end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final, TypeVar

from django.db import connections

T = TypeVar("T")
AT_ONCE: Final = 8


def apart(work: Callable[[], T], *, timeout_s: float) -> T | None:
    """What the work comes to; None where it takes longer. It runs in a thread and on connections of its own."""

    def run() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    try:
        return _pool().submit(run).result(timeout=timeout_s)
    except TimeoutError:
        return None


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(AT_ONCE, "apart")
