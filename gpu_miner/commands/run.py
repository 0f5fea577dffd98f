"""python -m gpu_miner run: answers until it is told to stop."""

import logging
import sys
from collections.abc import Mapping, Sequence
from threading import Event, Thread

from gpu_miner.benchmark import BenchCache, bench_key, measure
from gpu_miner.config import MODEL_ENGINES, Settings, load_settings
from gpu_miner.earnings import watch_earnings
from gpu_miner.engines import create_engine
from gpu_miner.engines.base import Engine
from gpu_miner.errors import EngineError
from gpu_miner.hardware import find_gpus
from gpu_miner.interrupts import Interrupts
from gpu_miner.logs import set_up_logging
from gpu_miner.model_choice import with_model
from gpu_miner.packages import require_packages
from gpu_miner.protocol import GpuCard
from gpu_miner.status import StatusLine
from gpu_miner.status_file import StatusFile
from gpu_miner.supervisor import Supervisor
from gpu_miner.watching import Watch

logger = logging.getLogger(__name__)

TICK_S = 0.2
STOPPED_HARD = 1


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    settings = load_settings(arguments, environ)
    set_up_logging(settings)
    require_packages(settings.engine)
    gpus = find_gpus()
    settings = with_model(settings, gpus, environ)
    engine = create_engine(settings)
    supervisor = Supervisor(settings, engine)
    supervisor.miner.bench = known_speed(settings, engine, gpus)
    return _run(supervisor, settings)


def known_speed(settings: Settings, engine: Engine, gpus: list[GpuCard]) -> dict[str, float]:
    """What a benchmark of this very combination said; a GPU that was never measured is measured now."""
    if settings.engine not in MODEL_ENGINES and not (settings.state_dir / "bench.json").exists():
        return {}
    cache, key = BenchCache(settings.state_dir), bench_key(settings, engine.models(), gpus)
    known = cache.get(key)
    if known or not settings.bench or settings.engine not in MODEL_ENGINES:
        return known
    logger.info("measuring this machine's speed, once; --no-bench leaves it out")
    try:
        known = measure(engine)
    except EngineError as error:
        logger.warning("the speed could not be measured: %s", error)
        return {}
    logger.info(
        "alone %.1f tok/s, with %.0f jobs %.1f tok/s", known["b1_tok_s"], known["agg_slots"], known["agg_tok_s"]
    )
    cache.put(key, known)
    return known


def _run(supervisor: Supervisor, settings: Settings) -> int:
    with Interrupts() as interrupts:
        logger.info("starting %s with the %s engine for %s", settings.name, settings.engine, settings.url)
        supervisor.start()
        hard = _until_it_ends(supervisor, settings, interrupts)
    if supervisor.failure is not None:
        raise supervisor.failure
    logger.info("stopped; unfinished jobs go back to the platform" if hard else "stopped, nothing left undone")
    return STOPPED_HARD if hard else 0


def _until_it_ends(supervisor: Supervisor, settings: Settings, interrupts: Interrupts) -> bool:
    """Watch over the miner until it ends; true when a second signal ended it hard."""
    line = StatusLine(sys.stdout, logger if settings.log_file else None)
    file = StatusFile(supervisor.key_path, settings)
    watch = Watch(supervisor, settings, line, file)
    ended = Event()
    Thread(target=watch_earnings, args=(supervisor.miner, ended), name="earnings", daemon=True).start()
    signals = 0
    try:
        while not supervisor.wait(0) and signals < 2:
            came = interrupts.wait(TICK_S)
            if came:
                signals += came
                _react(supervisor, signals)
            watch.look()
    finally:
        ended.set()
        line.close()
        file.remove()
    return signals > 1


def _react(supervisor: Supervisor, signals: int) -> None:
    if signals == 1:
        logger.info("draining: no new jobs, the running ones are finished; a second signal stops at once")
        supervisor.drain()
    else:
        supervisor.stop()
