"""The stage between a miner's words and their readers: placeholders become what they stand for, leaks are kept in.

A miner counts the characters that it wrote, a reader those that it was shown. What may still turn out to be half a
placeholder, or the beginning of something that must not be told, is held back until it is decided; whatever is held
when the answer ends is brought by the accepted answer itself.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chats.guardrails.leaks import Guard, LeakWatch
from chats.masking.mask import restore
from miners.streams import EntryKind, StreamEntry

HALF_A_PLACEHOLDER: Final = re.compile(r"<(?:[A-Za-z]{1,5}(?:_\d{0,4})?)?$")


@dataclass(slots=True)
class Screen:
    """One reader's view of one job's log; takes the log's entries in order and gives those that may be shown.

    `values` None says that nobody looked yet what the placeholders stand for.
    """

    values: Mapping[str, str] | None = None
    guard: Guard | None = None
    attempt: int = 0
    position: int = 0
    shown: int = 0
    leaked: bool = False
    _undecided: str = ""
    _unshown: str = ""
    _watch: LeakWatch | None = field(default=None)

    def has_gap_before(self, entry: StreamEntry) -> bool:
        return entry.kind == EntryKind.DELTA and entry.offset > self.position

    def needs_values(self, entry: StreamEntry) -> bool:
        return self.values is None and "<" in entry.text

    def take_all(self, entries: Sequence[StreamEntry]) -> list[StreamEntry]:
        return [shown for entry in entries for shown in self.take(entry)]

    def take(self, entry: StreamEntry) -> list[StreamEntry]:
        """The entry as it may be shown, in the reader's own offsets; [] where nothing of it may, or is new."""
        if entry.kind == EntryKind.RESET:
            return self._start_over(entry)
        if entry.attempt < self.attempt or entry.end <= self.position:
            return []
        self.attempt = entry.attempt
        fresh = entry.text[max(self.position - entry.offset, 0) :]
        self.position = entry.end
        text = self._decide(fresh)
        if not text:
            return []
        shown = StreamEntry(EntryKind.DELTA, entry.attempt, self.shown, text)
        self.shown += len(text)
        return [shown]

    def _start_over(self, entry: StreamEntry) -> list[StreamEntry]:
        if entry.attempt < self.attempt:
            return []
        self.attempt, self.position, self.shown, self.leaked = entry.attempt, 0, 0, False
        self._undecided, self._unshown, self._watch = "", "", None
        return [entry]

    def _decide(self, fresh: str) -> str:
        """What may be shown now: nothing any more, once something leaked."""
        if self.leaked:
            return ""
        text = self._undecided + fresh
        half = HALF_A_PLACEHOLDER.search(text)
        cut = half.start() if half else len(text)
        text, self._undecided = text[:cut], text[cut:]
        return self._guarded(restore(text, self.values or {}))

    def _guarded(self, text: str) -> str:
        if self.guard is None:
            return text
        if self._watch is None:
            self._watch = LeakWatch(self.guard)
        self._unshown += text
        held, self.leaked = self._watch.take(text)
        if self.leaked:
            self._unshown = ""
            return ""
        cut = max(len(self._unshown) - held, 0)
        text, self._unshown = self._unshown[:cut], self._unshown[cut:]
        return text
