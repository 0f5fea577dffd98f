"""Whether this process is about to stop, for whoever holds requests open."""

import asyncio
from collections.abc import Callable


class Drain:
    """Begun once, on SIGTERM: parked long polls then answer, and streams end so that clients come back elsewhere."""

    def __init__(self) -> None:
        self.is_draining = False
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._last = 0

    def begin(self) -> None:
        """Call every subscriber, on this thread, in the order in which they subscribed. A second call does nothing."""
        self.is_draining = True
        while self._callbacks:
            self._callbacks.pop(next(iter(self._callbacks)))()

    def subscribe(self, callback: Callable[[], object]) -> Callable[[], None]:
        """Have `callback` called when draining begins, at once if it has; the returned function takes that back."""
        self._last += 1
        number = self._last

        def unsubscribe() -> None:
            self._callbacks.pop(number, None)

        if self.is_draining:
            callback()
        else:
            self._callbacks[number] = callback
        return unsubscribe

    async def wait(self) -> None:
        """Return when draining begins; safe to cancel."""
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        unsubscribe = self.subscribe(lambda: loop.call_soon_threadsafe(begun.set))
        try:
            await begun.wait()
        finally:
            unsubscribe()


drain = Drain()
"""The one of this process."""
