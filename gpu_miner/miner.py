"""What the threads of one miner share: its settings, its identity, the jobs in hand, and whether to go on."""

import logging
from dataclasses import replace
from threading import Event
from time import monotonic

from gpu_miner.backoff import Patience
from gpu_miner.client import PlatformClient
from gpu_miner.config import Settings
from gpu_miner.engines.base import Engine
from gpu_miner.errors import MinerError
from gpu_miner.jobs import Ending, JobTable, end_all
from gpu_miner.pauses import Pause, Pauses
from gpu_miner.protocol import GpuLoad, Orders, PlatformConfig
from gpu_miner.status import Situation, Tally

logger = logging.getLogger(__name__)

# Answers the platform does not take pile up here; beyond this many the miner asks for no more work.
MAX_UNDELIVERED = 64
# An engine that fails job after job would empty the queue into the void: it rests, longer each time.
FAILURES_UNTIL_REST = 3
REST_FIRST_S = 15.0
REST_CAP_S = 180.0


class Miner:
    """The shared ground of all threads; its events are set by any of them."""

    def __init__(self, settings: Settings, engine: Engine, patience: Patience | None = None) -> None:
        self.settings = settings
        self.engine = engine
        self.patience = patience or Patience()
        self.client = PlatformClient(settings.url, self.adopt_config)
        self.config = PlatformConfig()
        self.jobs = JobTable()
        self.tally = Tally()
        self.miner_id = ""
        self.state = "connecting"
        self.bench: dict[str, float] = {}
        self.earned_usd: float | None = None
        self.pauses = Pauses()
        self.draining = Event()
        self.stopping = Event()
        self.heartbeat_due = Event()
        self.flush_due = Event()
        self.failure: MinerError | None = None
        self._drained_by_platform = False
        self._failures_in_row = 0
        self._rested_at = 0.0
        self._messages_shown: set[str] = set()

    @property
    def slots(self) -> int:
        wanted = 1 if self.settings.once else self.settings.slots
        return min(wanted, self.engine.slots, self.config.max_slots)

    @property
    def slots_idle(self) -> int:
        """Slots without a job, whether or not new jobs are wanted."""
        return max(0, self.slots - self.jobs.slots_used)

    @property
    def slots_free(self) -> int:
        """Slots to ask jobs for now."""
        return max(0, min(self._slots_allowed - self.jobs.slots_used, self.engine.room()))

    @property
    def slots_for_customers(self) -> int:
        """Slots that a customer's job could have: the free ones, and those of idle jobs, which give way."""
        if not self.settings.takes_customers:
            return 0
        return min(self.slots_free + len(self.jobs.idle_jobs()), self._slots_allowed)

    @property
    def _slots_allowed(self) -> int:
        """Slots that may be in use for now."""
        unwanted = self.is_draining or self.is_resting or self.is_paused
        if unwanted or self.jobs.undelivered >= MAX_UNDELIVERED:
            return 0
        # After a rest one job is the probe; only its success opens the other slots.
        return 1 if self._failures_in_row >= FAILURES_UNTIL_REST else self.slots

    @property
    def is_draining(self) -> bool:
        return self.draining.is_set() or self._drained_by_platform

    @property
    def is_resting(self) -> bool:
        return monotonic() < self._rested_at

    @property
    def is_paused(self) -> bool:
        return bool(self.pauses)

    @property
    def status(self) -> str:
        """The status the platform is told."""
        if self.is_draining:
            return "draining"
        if self.is_paused or (self.is_resting and self.jobs.is_empty):
            return "paused"
        return "idle" if self.jobs.is_empty else "busy"

    def drain(self) -> None:
        """Take no more jobs, finish those in hand, then end."""
        self.draining.set()
        self.heartbeat_due.set()
        self.jobs.wake()

    def pause(self, reason: Pause, *, on: bool) -> None:
        """Take no jobs while any reason holds: customers' answers are finished, idle jobs handed back at once."""
        if not self.pauses.change(reason, on=on):
            return
        logger.info("%s: %s", "paused" if self.is_paused else "working again", reason if on else f"no longer {reason}")
        if on:
            end_all(self.jobs.idle_jobs(), Ending.GAVE_WAY)
        self.heartbeat_due.set()
        self.jobs.wake()

    def stop(self) -> None:
        """End now; running jobs are given up."""
        self.draining.set()
        self.stopping.set()
        end_all(self.jobs.all(), Ending.STOPPED)
        self.heartbeat_due.set()
        self.flush_due.set()
        self.jobs.wake()

    def fail(self, error: MinerError) -> None:
        """End now, because going on is pointless; the first failure is the one that is reported."""
        self.failure = self.failure or error
        self.stop()

    def engine_worked(self) -> None:
        self._failures_in_row = 0

    def engine_failed(self) -> None:
        """Note a failure that was the engine's and not the job's; the third in a row pauses the polling."""
        self._failures_in_row += 1
        beyond = self._failures_in_row - FAILURES_UNTIL_REST
        if beyond >= 0:
            rest_s = min(REST_CAP_S, REST_FIRST_S * 2.0 ** min(beyond, 10))
            self._rested_at = monotonic() + rest_s
            logger.error("the engine failed %s times in a row; no new jobs for %.0f s", self._failures_in_row, rest_s)

    def adopt_config(self, raw: object) -> None:
        changed = self.config.changed_by(raw)
        if changed != self.config:
            logger.info("the platform changed the config: %s", changed)
            self.config = changed
            self.jobs.wake()

    def adopt_flush(self, flush_ms: int | None) -> None:
        if flush_ms is not None and flush_ms != self.config.flush_ms:
            self.config = replace(self.config, flush_ms=flush_ms)

    def obey(self, orders: Orders) -> None:
        if orders.drain is not None and orders.drain != self._drained_by_platform:
            self._drained_by_platform = orders.drain
            logger.info("the platform %s", "asks for no new jobs here" if orders.drain else "sends jobs again")
            self.jobs.wake()
        if orders.pause is not None:
            self.pause(Pause.PLATFORM, on=orders.pause)
        for job_id in orders.cancel:
            end_all(self.jobs.by_id(job_id), Ending.CANCELLED)
        for message in orders.messages:
            self._show(message)

    def situation(self, load: GpuLoad | None) -> Situation:
        jobs = self.jobs.all()
        running_tokens = sum(job.answer.tokens for job in jobs)
        return Situation(
            name=self.settings.name,
            state=self.state if self.state != "online" else self.status,
            running=len(jobs),
            slots=self.slots,
            done=self.tally.done,
            failed=self.tally.failed,
            tokens_per_s=self.tally.tokens_per_s(running_tokens),
            uptime_s=self.tally.uptime_s,
            load=load,
            reasons=str(self.pauses),
            earned_usd=self.earned_usd,
        )

    def _show(self, message: str) -> None:
        if message not in self._messages_shown and len(self._messages_shown) < 1000:
            self._messages_shown.add(message)
            logger.info("message from the platform: %s", message)
