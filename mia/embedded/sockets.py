"""Directories for unix sockets: private, and short enough for the kernel."""

import hashlib
import os
import pwd
import stat
from pathlib import Path

from mia.embedded.errors import EmbeddedServiceError
from mia.embedded.processes import Identity, our_guardian

LONGEST_SOCKET_PATH = 107
LONGEST_SOCKET_NAME = len("/.s.PGSQL.5432.lock")


def socket_directory(state: Path, service: str) -> Path:
    """Beside the service's data or, where that path is too long, in a short one made from it."""
    beside = state / "run" / service
    if len(os.fsencode(beside)) + LONGEST_SOCKET_NAME <= LONGEST_SOCKET_PATH:
        return beside
    runtime = Path(f"/run/user/{os.geteuid()}")
    base = runtime if os.access(runtime, os.W_OK) else Path("/tmp")  # noqa: S108 - made 0700 and its owner checked
    digest = hashlib.sha256(os.fsencode(state)).hexdigest()[:12]
    return base / f"mia-{os.geteuid()}-{digest}-{service}"


def make_socket_directory(directory: Path, identity: Identity, *, state: Path) -> None:
    """As `make_private`; one that is not beside the data goes when this process does."""
    make_private(directory, identity)
    if not directory.is_relative_to(state):
        our_guardian().remove_directory_at_the_end(directory)


def make_private(directory: Path, identity: Identity) -> None:
    """Create the directory 0700 for the program that runs in it; refuse one that somebody else put there."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    try:
        directory.mkdir(mode=0o700)
    except FileExistsError:
        check_ours(directory, identity)
    os.chown(directory, *identity.owner)
    directory.chmod(0o700)


def check_ours(directory: Path, identity: Identity) -> None:
    found = directory.lstat()
    owners = {os.geteuid(), identity.owner[0]}
    if os.geteuid() == 0:
        owners.add(pwd.getpwnam("nobody").pw_uid)  # whom root ran the service as the last time
    if not stat.S_ISDIR(found.st_mode) or found.st_uid not in owners:
        raise EmbeddedServiceError(f"{directory} belongs to somebody else. Remove it, then start again.")
