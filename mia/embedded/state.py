"""The state directory of `manage.py up`: its secret key, and what it wrote down for scripts and other commands."""

import contextlib
import fcntl
import json
import os
import secrets
import sys
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mia.embedded.errors import EmbeddedServiceError
from mia.embedded.postgres import Postgres
from mia.embedded.redis import Redis

DEFAULT_DIRECTORY: Final = Path(__file__).resolve().parents[2] / ".mia"


@dataclass(frozen=True)
class State:
    """One directory; everything in it that tells a secret is readable by its owner only."""

    directory: Path

    @property
    def facts_file(self) -> Path:
        return self.directory / "up.json"

    @property
    def logs(self) -> Path:
        return self.directory / "logs"

    def make(self) -> None:
        # Others may pass through, because PostgreSQL may have to run as another user; they may not look around.
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o711)
        self.logs.mkdir(mode=0o700, exist_ok=True)

    def set_old_logs_aside(self) -> None:
        """A run's logs hold that run; the run before is kept as `.log.1`."""
        for log in self.logs.glob("*.log"):
            log.replace(log.with_suffix(".log.1"))

    def secret_key(self) -> str:
        """Made once; whatever it signed, hashed keys among it, holds as long as the directory."""
        path = self.directory / "secret_key"
        with contextlib.suppress(FileNotFoundError):
            return path.read_text().strip()
        write_private(path, secrets.token_urlsafe(50))
        return path.read_text().strip()

    def read_facts(self) -> dict[str, Any]:
        """What was written down; empty where nothing was, or nothing readable."""
        with contextlib.suppress(FileNotFoundError, PermissionError, ValueError):
            facts = json.loads(self.facts_file.read_text())
            if isinstance(facts, dict):
                return facts
        return {}

    def write_facts(self, facts: Mapping[str, object]) -> None:
        write_private(self.facts_file, json.dumps(facts, indent=2) + "\n")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Only one `up` at a time; raises EmbeddedServiceError that names the other."""
        with (self.directory / "lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                facts = self.read_facts()
                pid = facts.get("pids", {}).get("up", "?")
                raise EmbeddedServiceError(
                    f"MIA already runs on {self.directory}: process {pid}, {facts.get('url', 'address unknown')}.\n"
                    f"Use that one, stop it (kill {pid}), or start another beside it: --port 8001 --state-dir .mia-2"
                ) from error
            yield


def write_private(path: Path, text: str) -> None:
    """Replace the file at once; nobody else can read it at any moment."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    unfinished.replace(path)


def chosen_directory(arguments: Sequence[str], environment: Mapping[str, str]) -> Path:
    """`--state-dir`, read before Django reads the command line, because its settings need what lies there."""
    for position, argument in enumerate(arguments):
        if argument.startswith("--state-dir="):
            return Path(argument.partition("=")[2]).absolute()
        if argument == "--state-dir" and position + 1 < len(arguments):
            return Path(arguments[position + 1]).absolute()
    return Path(environment.get("MIA_STATE_DIR") or DEFAULT_DIRECTORY).absolute()


def provide_environment(arguments: Sequence[str], environment: MutableMapping[str, str]) -> None:
    """Set what Django's settings read and nobody has set, before they are read.

    `up` gets the servers that it will start; any other command those of the `up` that was here last, so that `shell`
    or `createsuperuser` mean the same database. Where DATABASE_URL and REDIS_URL are set, as in production, the state
    directory is never looked at by other commands.
    """
    state = State(chosen_directory(arguments, environment))
    if "up" in arguments[:1]:
        defaults = servers_to_start(state)
    elif {"DATABASE_URL", "REDIS_URL"} <= set(environment):
        defaults = {}
    else:
        defaults = servers_of_the_last_up(state)
    for name, value in defaults.items():
        environment.setdefault(name, value)


def servers_to_start(state: State) -> dict[str, str]:
    try:
        state.make()
        return {
            "APP_ENV": "development",
            "SECRET_KEY": state.secret_key(),
            "DATABASE_URL": Postgres(state.directory).url,
            "REDIS_URL": Redis(state.directory).url,
        }
    except PermissionError as error:
        sys.exit(f"{error.filename} belongs to another user. Run as that user, or choose another --state-dir.")


def servers_of_the_last_up(state: State) -> dict[str, str]:
    facts = state.read_facts()
    if not facts:
        return {}
    return {
        "APP_ENV": "development",
        "SECRET_KEY": state.secret_key(),
        "DATABASE_URL": facts["database_url"],
        "REDIS_URL": facts["redis_url"],
        "DEMO_PUBLISHABLE_KEY": facts["publishable_key"],
    }
