"""What each part is doing, on a terminal or in a log."""

import time
from collections.abc import Sequence
from enum import StrEnum
from typing import Final, TextIO


class PartState(StrEnum):
    """Where a part stands."""

    WAITING = "waiting"
    STARTING = "starting"
    READY = "ready"
    FAILED = "failed"
    STOPPING = "stopping"
    STOPPED = "stopped"


COLOURS: Final = {
    PartState.READY: "32",
    PartState.STARTING: "33",
    PartState.STOPPING: "33",
    PartState.FAILED: "31",
}


class Board:
    """One line per part: rewritten in place on a terminal until something else is printed, appended elsewhere."""

    def __init__(self, out: TextIO, parts: Sequence[str]) -> None:
        self.out = out
        self.is_live = out.isatty()
        self.width = max(len(part) for part in parts)
        self.begun = time.monotonic()
        self.lines = dict.fromkeys(parts, (PartState.WAITING, ""))
        self.drawn = 0

    def show(self, part: str, state: PartState, note: str = "") -> None:
        if self.lines.get(part) == (state, note):
            return
        self.lines[part] = (state, note)
        if self.is_live:
            self.redraw()
        else:
            seconds = time.monotonic() - self.begun
            self.out.write(f"{seconds:6.1f} s  {self.line(part)}\n")
            self.out.flush()

    def say(self, text: str = "") -> None:
        """Print below; the lines above stay as they are and are drawn again at the next change."""
        self.out.write(f"{text}\n")
        self.out.flush()
        self.drawn = 0

    def redraw(self) -> None:
        above = f"\x1b[{self.drawn}A" if self.drawn else ""
        self.out.write(above + "".join(f"\r\x1b[K  {self.line(part)}\n" for part in self.lines))
        self.out.flush()
        self.drawn = len(self.lines)

    def line(self, part: str) -> str:
        state, note = self.lines[part]
        word = f"{state:<9}"
        if self.is_live and state in COLOURS:
            word = f"\x1b[{COLOURS[state]}m{word}\x1b[0m"
        return f"{part:<{self.width}}  {word} {note}".rstrip()
