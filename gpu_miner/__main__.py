"""Starts a miner from the command line: python -m gpu_miner --url https://… --name …"""

import logging
import os
import sys

from gpu_miner.config import Settings, load_settings
from gpu_miner.engines import create_engine
from gpu_miner.errors import ConfigError, MinerError
from gpu_miner.interrupts import Interrupts
from gpu_miner.status import LineClearingHandler, StatusLine
from gpu_miner.supervisor import Supervisor

logger = logging.getLogger("gpu_miner")

TICK_S = 0.2
STOPPED_HARD = 1


def main() -> int:
    try:
        settings = load_settings(sys.argv[1:], os.environ)
        _set_up_logging(settings.log_level)
        supervisor = Supervisor(settings, create_engine(settings))
        return _run(supervisor, settings)
    except ConfigError as error:
        for problem in error.problems:
            sys.stderr.write(f"gpu_miner: {problem}\n")
        return error.exit_code
    except MinerError as error:
        sys.stderr.write(f"gpu_miner: {error}\n")
        return error.exit_code


def _run(supervisor: Supervisor, settings: Settings) -> int:
    with Interrupts() as interrupts:
        logger.info("starting %s with the %s engine for %s", settings.name, settings.engine, settings.url)
        supervisor.start()
        hard = _watch(supervisor, interrupts)
    if supervisor.failure is not None:
        raise supervisor.failure
    logger.info("stopped; unfinished jobs go back to the platform" if hard else "stopped, nothing left undone")
    return STOPPED_HARD if hard else 0


def _watch(supervisor: Supervisor, interrupts: Interrupts) -> bool:
    """Show the status until the miner ends; true when a second signal ended it hard."""
    line = StatusLine()
    signals = 0
    while not supervisor.wait(0):
        came = interrupts.wait(TICK_S)
        if came:
            signals += came
            _react(supervisor, signals)
        line.show(supervisor.situation())
        if signals > 1:
            break
    line.close()
    return signals > 1


def _react(supervisor: Supervisor, signals: int) -> None:
    if signals == 1:
        logger.info("draining: no new jobs, the running ones are finished; a second signal stops at once")
        supervisor.drain()
    else:
        supervisor.stop()


def _set_up_logging(level: str) -> None:
    handler = LineClearingHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("urllib3").setLevel(logging.WARNING)


if __name__ == "__main__":
    sys.exit(main())
