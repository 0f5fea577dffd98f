"""The miner's memory between starts: its id and key, in a file only its owner can read."""

import fcntl
import hashlib
import json
import logging
import os
import re
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from gpu_miner.errors import ConfigError
from gpu_miner.protocol import as_object, as_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who this miner is to one platform."""

    url: str
    name: str
    miner_id: str
    auth_key: str


class KeyFile:
    """One identity on disk, chosen by platform and name; held by one process at a time."""

    def __init__(self, folder: Path, url: str, name: str) -> None:
        slug = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "miner"
        mark = hashlib.sha256(f"{url}\n{name}".encode()).hexdigest()[:8]
        self.path = folder / f"{slug}-{mark}.json"
        self._lock: IO[str] | None = None

    def hold(self) -> None:
        """Keep a second miner from using the same key at the same time; lasts until this process ends."""
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _open_private(self.path.with_suffix(".lock"))
        except OSError as error:
            raise ConfigError(f"the state folder {self.path.parent} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise ConfigError(
                f"another miner already runs with the key {self.path}; give this one another --name"
            ) from error
        self._lock = lock

    def release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def load(self) -> Identity | None:
        try:
            raw = as_object(json.loads(self.path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            problem = f"the key file {self.path} cannot be read ({error}); move it away to register anew"
            raise ConfigError(problem) from error
        self._close_to_others()
        identity = Identity(*(as_text(raw.get(name)) for name in ("url", "name", "miner_id", "auth_key")))
        if not identity.miner_id or not identity.auth_key:
            raise ConfigError(f"the key file {self.path} is incomplete; move it away to register anew")
        return identity

    def save(self, identity: Identity) -> None:
        """Replace the file in one step, so that a power cut leaves the old key or the new one, never half of it."""
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        with _open_private(draft) as file:
            json.dump(asdict(identity), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _close_to_others(self) -> None:
        if stat.S_IMODE(self.path.stat().st_mode) & 0o077:
            logger.warning("the key file %s was open to others; it is 0600 now", self.path)
            self.path.chmod(0o600)


def _open_private(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8")
