"""How far a download is: a bar in place on a terminal, a line now and then elsewhere."""

import shutil
from time import monotonic
from typing import TextIO

GIGABYTE = 1e9
BAR_WIDTH = 24
REDRAW_S = 0.1
LOG_S = 30.0


class ProgressBar:
    """Shows bytes of a total with the speed and the time that is left."""

    def __init__(self, label: str, out: TextIO) -> None:
        self._label = label
        self._out = out
        self._live = out.isatty()
        self._started_at = monotonic()
        self._first = 0
        self._shown_at = 0.0
        self._latest = ""

    def show(self, done: int, total: int) -> None:
        now = monotonic()
        if not self._latest:
            # What an earlier download left here says nothing of this line's speed.
            self._first, self._started_at = done, now
        self._latest = self._line(done, total, now)
        if now - self._shown_at >= (REDRAW_S if self._live else LOG_S) or done == total:
            self._write()
            self._shown_at = now

    def close(self) -> None:
        if self._live and self._latest:
            self._write()
            self._out.write("\n")
            self._out.flush()

    def _line(self, done: int, total: int, now: float) -> str:
        share = done / total if total else 1.0
        speed = (done - self._first) / max(now - self._started_at, 0.001)
        left = f"{_clock((total - done) / speed)} left" if speed > 1 and done < total else ""
        filled = round(share * BAR_WIDTH)
        drawing = "█" * filled + "░" * (BAR_WIDTH - filled)
        amount = f"{done / GIGABYTE:.2f} of {total / GIGABYTE:.2f} GB"
        return f"{self._label}  {drawing}  {share:4.0%}  {amount}  {speed / 1e6:.1f} MB/s  {left}".rstrip()

    def _write(self) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._out.write(f"\r\x1b[K{self._latest[:width]}")
        else:
            self._out.write(f"{self._latest}\n")
        self._out.flush()


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
