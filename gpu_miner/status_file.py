"""What a running miner tells the other programs of its owner: a file only the owner can read, never a port."""

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from gpu_miner import VERSION
from gpu_miner.config import Settings
from gpu_miner.protocol import JsonObject, as_object, as_text
from gpu_miner.status import Situation

SUFFIX = ".status"


class StatusFile:
    """The status of one miner, beside its key."""

    def __init__(self, key_path: Path, settings: Settings) -> None:
        self.path = key_path.with_suffix(SUFFIX)
        self._about: JsonObject = {
            "name": settings.name,
            "url": settings.url,
            "engine": settings.engine,
            "model": settings.model_name,
            "version": VERSION,
            "pid": os.getpid(),
        }

    def write(self, situation: Situation) -> None:
        """Replace the file in one step; a disk that is full or gone stops no miner."""
        draft = self.path.with_suffix(".status-new")
        content = {**self._about, "at": datetime.now(UTC).isoformat(), "line": str(situation), **situation.as_dict()}
        try:
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC | os.O_NOFOLLOW, 0o600), "w") as file:
                json.dump(content, file)
            os.replace(draft, self.path)
        except OSError:
            return

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Seen:
    """A miner of this machine as its file tells it; `is_running` is the system's word, not the file's."""

    status: JsonObject
    is_running: bool

    @property
    def line(self) -> str:
        if self.is_running:
            return as_text(self.status.get("line"))
        return f"{as_text(self.status.get('name'))}: not running (last seen {as_text(self.status.get('at'))[:19]} UTC)"


def miners_here(folder: Path) -> Iterator[Seen]:
    """Every miner that runs with this state folder, or ended without saying goodbye."""
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            status = as_object(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            continue
        yield Seen(status, is_held(path.with_suffix(".lock")))


def is_held(lock: Path) -> bool:
    """Whether a living process holds the lock; a killed one does not, whatever it left behind."""
    try:
        with lock.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False
