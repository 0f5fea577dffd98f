"""A stream that remembers, and jobs to write for it."""

from collections.abc import Callable
from threading import Event

from gpu_miner.engines.base import Delta, EngineJob
from gpu_miner.protocol import JsonObject


class Recorder:
    """An engines.base.Stream for tests; `cancel_after` cancels once that many deltas have come."""

    def __init__(self, cancel_after: int = -1) -> None:
        self.deltas: list[Delta] = []
        self.begun: list[bool] = []
        self._cancel_after = cancel_after
        self._ended = Event()
        self._stops: list[Callable[[], None]] = []
        if cancel_after == 0:
            self.cancel()

    @property
    def text(self) -> str:
        return "".join(delta.text for delta in self.deltas)

    @property
    def tokens(self) -> int:
        return sum(delta.tokens for delta in self.deltas)

    def cancel(self) -> None:
        self._ended.set()
        for stop in self._stops:
            stop()

    def begin(self, *, continues: bool) -> None:
        self.begun.append(continues)

    def push(self, delta: Delta) -> None:
        self.deltas.append(delta)
        if len(self.deltas) == self._cancel_after:
            self.cancel()

    @property
    def cancelled(self) -> bool:
        return self._ended.is_set()

    def on_cancel(self, stop: Callable[[], None]) -> None:
        self._stops.append(stop)
        if self.cancelled:
            stop()

    def pause(self, seconds: float) -> bool:
        return self._ended.wait(seconds)


def asking(question: str, facts: str = "", **changes: object) -> EngineJob:
    """A job as the platform words it."""
    rules = "You are Ada, the assistant of a shop. Answer in the visitor's language. Never invent anything."
    system = f"{rules}\n<facts>\n{facts}\n</facts>" if facts else rules
    messages: tuple[JsonObject, ...] = (
        {"role": "system", "content": system},
        {"role": "user", "content": question},
    )
    return EngineJob("job-1", messages, **changes)  # type: ignore[arg-type]
