"""One instance of something for each event loop: clients and rooms that must not be shared between loops."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

Instance = TypeVar("Instance")


class PerLoop(Generic[Instance]):
    """Call it inside a coroutine for the running loop's instance, which is made at the first call."""

    def __init__(self, make: Callable[[], Instance]) -> None:
        self._make = make
        self._instances: dict[asyncio.AbstractEventLoop, Instance] = {}

    def __call__(self) -> Instance:
        loop = asyncio.get_running_loop()
        if loop not in self._instances:
            for other in [other for other in self._instances if other.is_closed()]:
                del self._instances[other]
            self._instances[loop] = self._make()
        return self._instances[loop]
