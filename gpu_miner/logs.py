"""Where the miner's log goes: standard error, or a file that is rotated."""

import logging
import sys
from logging.handlers import RotatingFileHandler
from pathlib import Path

from gpu_miner.config import Settings
from gpu_miner.errors import ConfigError
from gpu_miner.status import LineClearingHandler

FILE_BYTES = 5 * 1024 * 1024
FILES_KEPT = 4


def set_up_logging(settings: Settings) -> None:
    handler = _file_handler(settings.log_file) if settings.log_file else LineClearingHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S"))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("urllib3").setLevel(logging.WARNING)


def _file_handler(name: str) -> logging.Handler:
    path = Path(name).expanduser()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"--log-file {path} cannot be written: {error.strerror}") from error
