"""SIGINT and SIGTERM as things to wait for, without running code inside a signal handler."""

import os
import select
import signal
from types import FrameType, TracebackType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Counts stop signals while open; Event.set in a handler could deadlock with the wait it interrupts."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        self._previous: dict[int, signal._HANDLER] = {}

    def __enter__(self) -> "Interrupts":
        for number in STOP_SIGNALS:
            self._previous[number] = signal.signal(number, _noted)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.set_wakeup_fd(-1)
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        os.close(self._reader)
        os.close(self._writer)

    def wait(self, timeout_s: float) -> int:
        """How many stop signals came, waiting at most `timeout_s` for the first."""
        ready, _, _ = select.select([self._reader], [], [], timeout_s)
        if not ready:
            return 0
        return sum(number in STOP_SIGNALS for number in os.read(self._reader, 64))


def _noted(number: int, frame: FrameType | None) -> None:
    """Python writes the number to the pipe; nothing else is to happen."""
