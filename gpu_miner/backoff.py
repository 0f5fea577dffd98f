"""How long to wait before trying again."""

import random
from dataclasses import dataclass

# Nothing secret hangs on the jitter, but the system generator keeps forked miners from waiting in step.
_jitter = random.SystemRandom()


@dataclass(frozen=True)
class Patience:
    """The miner's waiting times; tests shorten them, nobody else should."""

    backoff_first_s: float = 1.0
    backoff_cap_s: float = 64.0
    # Twelve tries: eleven waits that add up to 607 seconds, the ten minutes a finished answer is worth keeping.
    result_waits_s: tuple[float, ...] = (1, 2, 4, 8, 16, 32, 64, 120, 120, 120, 120)
    retry_after_cap_s: float = 120.0
    ack_retry_s: float = 0.5
    busy_heartbeat_s: float = 1.0
    status_tick_s: float = 1.0
    hung_after_s: float = 60.0
    final_flush_s: float = 2.0


class Backoff:
    """Full-jitter exponential waiting (AWS Architecture Blog, "Exponential Backoff And Jitter")."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self.failures = 0

    def next_wait(self, retry_after_s: float | None = None) -> float:
        """Seconds to wait now; a Retry-After from the platform is the least it can be."""
        ceiling = min(self._patience.backoff_cap_s, self._patience.backoff_first_s * 2.0**self.failures)
        self.failures = min(self.failures + 1, 30)
        wait = max(_jitter.uniform(0, ceiling), 0.02 * ceiling)
        return max(wait, self._obeyed(retry_after_s))

    def reset(self) -> None:
        self.failures = 0

    def _obeyed(self, retry_after_s: float | None) -> float:
        return min(retry_after_s or 0.0, self._patience.retry_after_cap_s)


def result_waits(patience: Patience) -> list[float]:
    """The waits between the tries to deliver one result, each within a fifth of its plan."""
    return [wait * _jitter.uniform(0.8, 1.2) for wait in patience.result_waits_s]


def spread(seconds: float) -> float:
    """Up to a tenth less, so that miners that started together drift apart."""
    return seconds * _jitter.uniform(0.9, 1.0)
