"""Answers that stay good for a few seconds in this process."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


class RecentAnswers(Generic[Answer]):
    """The last answers by question; thread-safe, bounded, the oldest out first.

    An answer's age counts from before the question was asked, so what changed meanwhile is not outlived.
    """

    def __init__(self, lifetime_s: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.lifetime_s = lifetime_s
        self.max_entries = max_entries
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[Hashable, tuple[float, Answer]] = OrderedDict()

    def get(self, question: Hashable, ask: Callable[[], Answer]) -> Answer:
        """The remembered answer, or the one that `ask` gives now; several threads may ask at once."""
        remembered = self.look(question)
        if remembered is not None:
            return remembered[0]
        asked_at = self._clock()
        answer = ask()
        self._remember(question, asked_at, answer)
        return answer

    def look(self, question: Hashable) -> tuple[Answer] | None:
        """The remembered answer, in a tuple as it may be None itself; None when there is none that is young enough."""
        with self._lock:
            remembered = self._answers.get(question)
        if remembered is None or self._clock() - remembered[0] >= self.lifetime_s:
            return None
        return (remembered[1],)

    def clear(self) -> None:
        with self._lock:
            self._answers.clear()

    def __len__(self) -> int:
        return len(self._answers)

    def _remember(self, question: Hashable, asked_at: float, answer: Answer) -> None:
        with self._lock:
            self._answers[question] = (asked_at, answer)
            self._answers.move_to_end(question)
            while len(self._answers) > self.max_entries:
                self._answers.popitem(last=False)
