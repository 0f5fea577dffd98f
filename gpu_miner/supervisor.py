"""Runs one miner: registers it, starts its threads, watches over them, and ends them in order."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from gpu_miner.backoff import Patience
from gpu_miner.client import HEARTBEAT_TIMEOUT_S
from gpu_miner.config import Settings
from gpu_miner.delivery import Delivery
from gpu_miner.engines.base import Engine
from gpu_miner.errors import EngineHung, MinerError, PlatformError
from gpu_miner.hardware import LoadSampler, find_gpus
from gpu_miner.heartbeat import Heart
from gpu_miner.miner import Miner
from gpu_miner.polling import Poller
from gpu_miner.protocol import GpuCard
from gpu_miner.registration import Registrar
from gpu_miner.serving import Server
from gpu_miner.state import KeyFile
from gpu_miner.status import Situation

logger = logging.getLogger(__name__)


class Supervisor:
    """One miner's life; `drain` and `stop` may be called from any thread."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        patience: Patience | None = None,
        find: Callable[[], list[GpuCard]] = find_gpus,
    ) -> None:
        self.miner = Miner(settings, engine, patience)
        self._key_file = KeyFile(settings.state_dir, settings.url, settings.name)
        self._find_gpus = find
        self._sampler = LoadSampler()
        self._finished = Event()

    def start(self) -> None:
        """Raises ConfigError when the key file cannot be held; everything later ends in `failure`."""
        self._key_file.hold()
        Thread(target=self._live, name="life", daemon=True).start()

    def drain(self) -> None:
        self.miner.drain()

    def stop(self) -> None:
        self.miner.stop()

    def wait(self, timeout_s: float | None = None) -> bool:
        """True once the miner has ended."""
        return self._finished.wait(timeout_s)

    @property
    def failure(self) -> MinerError | None:
        return self.miner.failure

    @property
    def key_path(self) -> Path:
        return self._key_file.path

    def situation(self) -> Situation:
        return self.miner.situation(self._sampler.load)

    def _live(self) -> None:
        self._guarded(self._connect_and_work)
        self.miner.stop()
        self._guarded(self.miner.engine.close)
        self._key_file.release()
        self._finished.set()

    def _connect_and_work(self) -> None:
        if self._connect():
            self._work()
            self._say_goodbye()

    def _connect(self) -> bool:
        gpus = self._find_gpus()
        registrar = Registrar(self.miner, self._key_file, gpus)
        if not registrar.register():
            return False
        self.miner.state = "online"
        if gpus:
            self._spawn("gpu", lambda: self._sampler.run(self.miner.stopping))
        return True

    def _work(self) -> None:
        delivery = Delivery(self.miner)
        self._spawn("delivery", delivery.run)
        heartbeat = self._spawn("heartbeat", Heart(self.miner, lambda: self._sampler.load).run)
        self._spawn("polling", Poller(self.miner, Server(self.miner, delivery).accept).run)
        self._watch_until_drained()
        self.miner.stop()
        # A heartbeat after the goodbye would bring the miner back to life.
        heartbeat.join(HEARTBEAT_TIMEOUT_S)

    def _watch_until_drained(self) -> None:
        told = False
        while not self.miner.stopping.is_set():
            if self.miner.draining.is_set():
                if self.miner.jobs.is_empty:
                    return
                if not told:
                    told = True
                    self._tell_status("draining")
            self._check_engine()
            self.miner.jobs.wait_for_change(self.miner.patience.status_tick_s)

    def _check_engine(self) -> None:
        """Give up when every slot is held by a job that was told to stop and did not."""
        too_long = monotonic() - self.miner.patience.hung_after_s
        stuck = [job for job in self.miner.jobs.holding() if job.ended_at is not None and job.ended_at < too_long]
        if len(stuck) >= self.miner.slots:
            self.miner.fail(EngineHung("the engine no longer answers; start the miner again"))

    def _say_goodbye(self) -> None:
        if self.failure is None:
            self._tell_status("offline")

    def _tell_status(self, status: str) -> None:
        """A courtesy: when it fails the platform notices by itself."""
        with suppress(PlatformError):
            self.miner.client.set_status(self.miner.miner_id, status)

    def _spawn(self, name: str, target: Callable[[], None]) -> Thread:
        thread = Thread(target=self._guarded, args=(target,), name=name, daemon=True)
        thread.start()
        return thread

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except MinerError as error:
            self.miner.fail(error)
        except Exception:
            # The edge of a thread: a miner that has lost one of its threads must end, not limp.
            logger.exception("a thread of the miner crashed")
            self.miner.fail(MinerError("the miner crashed; the log says where"))
