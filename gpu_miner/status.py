"""What the operator sees: one readable line about the miner, kept in place on a terminal and repeated in logs."""

import logging
import shutil
import sys
from collections import deque
from dataclasses import asdict, dataclass
from threading import Lock
from time import monotonic
from typing import TextIO

from gpu_miner.protocol import GpuLoad

RATE_WINDOW_S = 10.0
LOG_EVERY_S = 60.0
CLEAR_LINE = "\r\x1b[K"


class Tally:
    """What this miner has done since it started; counted where a job ends, so the token path stays free."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._started_at = monotonic()
        self._tokens = 0
        self._totals: deque[tuple[float, int]] = deque([(self._started_at, 0)])
        self.done = 0
        self.failed = 0
        self.dropped = 0

    def count(self, *, answered: bool, delivered: bool) -> None:
        """One job has ended: with an answer or without, and the platform took the result or did not."""
        with self._lock:
            if not delivered:
                self.dropped += 1
            elif answered:
                self.done += 1
            else:
                self.failed += 1

    def tokens_written(self, tokens: int) -> None:
        with self._lock:
            self._tokens += tokens

    def tokens_per_s(self, running_tokens: int) -> float:
        """Tokens written per second over the last ten seconds, those of running jobs included."""
        now = monotonic()
        with self._lock:
            total = self._tokens + running_tokens
            self._totals.append((now, total))
            while len(self._totals) > 2 and self._totals[0][0] < now - RATE_WINDOW_S:
                self._totals.popleft()
            then, before = self._totals[0]
        return max(0, total - before) / (now - then) if now > then else 0.0

    @property
    def uptime_s(self) -> float:
        return monotonic() - self._started_at


@dataclass(frozen=True)
class Situation:
    """One moment of the miner."""

    name: str
    state: str
    running: int
    slots: int
    done: int
    failed: int
    tokens_per_s: float
    uptime_s: float
    load: GpuLoad | None = None
    reasons: str = ""
    earned_usd: float | None = None

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def __str__(self) -> str:
        parts = [
            f"{self.name}: {self.state}" + (f" ({self.reasons})" if self.reasons else ""),
            f"jobs {self.running}/{self.slots}",
            f"{self.done} done" + (f", {self.failed} failed" if self.failed else ""),
            f"{self.tokens_per_s:.1f} tok/s",
            *_gpu_words(self.load),
            *([f"${self.earned_usd:.4f} earned"] if self.earned_usd is not None else []),
            f"up {in_words(self.uptime_s)}",
        ]
        return " · ".join(parts)


def _gpu_words(load: GpuLoad | None) -> list[str]:
    if load is None:
        return []
    used, total = load["memory_used_mb"] / 1024, load.get("memory_total_mb", 0) / 1024
    memory = f"{used:.1f}/{total:.0f} GB" if total else f"{used:.1f} GB"
    power = [f"{load['power_w']} W"] if load.get("power_w") else []
    return [memory, f"{load['temperature']} °C", *power]


class StatusLine:
    """Shows situations: live on a terminal; elsewhere when something changes, and each minute of work."""

    def __init__(
        self, out: TextIO = sys.stdout, log: logging.Logger | None = None, log_every_s: float = LOG_EVERY_S
    ) -> None:
        """With a `log`, news of a miner without a terminal go there instead."""
        self._out = out
        self._log = log
        self._log_every_s = log_every_s
        self._live = out.isatty()
        self._shown_at = 0.0
        self._shown: Situation | None = None

    def show(self, situation: Situation) -> None:
        if self._live:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"{CLEAR_LINE}{str(situation)[:width]}")
        elif self._is_news(situation):
            self._tell(str(situation))
            self._shown, self._shown_at = situation, monotonic()

    def close(self) -> None:
        if self._live:
            self._write("\n")

    def _is_news(self, situation: Situation) -> bool:
        if self._shown is None or _mood(self._shown.state) != _mood(situation.state):
            return True
        worked = (situation.done, situation.failed, situation.running) != (self._shown.done, self._shown.failed, 0)
        return worked and monotonic() - self._shown_at >= self._log_every_s

    def _tell(self, text: str) -> None:
        if self._log is not None:
            self._log.info("%s", text)
        else:
            self._write(f"{text}\n")

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _mood(state: str) -> str:
    """Idle and busy take turns with every job; in a log they are one."""
    return "online" if state in ("idle", "busy") else state


class LineClearingHandler(logging.StreamHandler[TextIO]):
    """Logs to a terminal without leaving half a status line before each message."""

    def emit(self, record: logging.LogRecord) -> None:
        if self.stream.isatty():
            self.stream.write(CLEAR_LINE)
        super().emit(record)


def in_words(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours:02} h"
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"
