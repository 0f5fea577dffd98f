"""Why a miner takes no jobs for a while, and the limits of its owner that make it so."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from threading import Lock
from time import monotonic

from gpu_miner.config import Settings
from gpu_miner.protocol import GpuLoad

# A card cools by this much, and draws this part less, before work goes on: no flutter around the limit.
COOLER_BY = 5
LESS_POWER = 0.9
# A paused card draws little at once; without a rest it would go on and off every few seconds.
LEAST_PAUSE_S = 60.0
# Single readings jump; only what lasts is a reason.
POWER_LASTS_S = 10.0


class Pause(StrEnum):
    """A reason to take no jobs."""

    PLATFORM = "paused by the platform's staff"
    HOURS = "outside its hours"
    HOT = "too hot"
    POWER = "drawing too much power"


class Pauses:
    """The reasons that hold now; safe between threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._reasons: set[Pause] = set()

    def change(self, reason: Pause, *, on: bool) -> bool:
        """Whether this was news."""
        with self._lock:
            if (reason in self._reasons) is on:
                return False
            self._reasons.symmetric_difference_update({reason})
            return True

    def __bool__(self) -> bool:
        with self._lock:
            return bool(self._reasons)

    def __str__(self) -> str:
        with self._lock:
            return ", ".join(sorted(self._reasons))


@dataclass
class Limit:
    """Something that pauses above `high` once it `lasts_s`, until it is at most `low` and the pause was long enough."""

    high: float
    low: float
    lasts_s: float = 0.0
    rest_s: float = LEAST_PAUSE_S
    is_over: bool = False
    above_since: float | None = None
    paused_at: float = 0.0

    def judge(self, value: float, now: float) -> bool:
        """Whether to pause now."""
        if self.is_over:
            self.is_over = value > self.low or now - self.paused_at < self.rest_s
            return self.is_over
        if value <= self.high:
            self.above_since = None
            return False
        self.above_since = now if self.above_since is None else self.above_since
        if now - self.above_since >= self.lasts_s:
            self.is_over, self.paused_at, self.above_since = True, now, None
        return self.is_over


class OwnersLimits:
    """What the owner of the machine allows: hours, heat and power."""

    def __init__(self, settings: Settings) -> None:
        self._hours = settings.working_hours
        self._heat = Limit(settings.max_temperature, settings.max_temperature - COOLER_BY)
        self._power = Limit(settings.max_power, settings.max_power * LESS_POWER, lasts_s=POWER_LASTS_S)

    def judge(self, load: GpuLoad | None, at: datetime, now: float | None = None) -> dict[Pause, bool]:
        """Each reason, and whether it holds. A GPU that cannot be read is no reason."""
        now = monotonic() if now is None else now
        heat, power = (load["temperature"], load.get("power_w", 0)) if load else (0, 0)
        return {
            Pause.HOURS: not self._hours.hold(at),
            Pause.HOT: bool(self._heat.high) and self._heat.judge(heat, now),
            Pause.POWER: bool(self._power.high) and self._power.judge(power, now),
        }
