"""The pytest plugin that gives a run its own PostgreSQL and Redis before Django's settings are read.

One PostgreSQL serves the whole run: pytest-django makes a database per xdist worker in it. Each worker has a Redis of
its own, because pub/sub knows no database index, and because tests empty, stop and kill theirs. `TEST_DATABASE_URL` and
`TEST_REDIS_URL` name servers to use instead. Run as `python -m pytest`: the plugin is imported before pytest looks for
import paths.
"""

import os
import secrets
import shutil
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
import redis

from mia.embedded.postgres import Postgres
from mia.embedded.processes import our_guardian
from mia.embedded.redis import Redis

CHROMIUM = "/usr/bin/chromium"
STARTED = pytest.StashKey[list[Postgres | Redis]]()
DIRECTORY = pytest.StashKey[Path]()


def worker_number() -> int | None:
    """The xdist worker that this process is, or None in the controller and without xdist."""
    name = os.environ.get("PYTEST_XDIST_WORKER")
    return int(name.removeprefix("gw")) if name else None


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> Generator[None]:
    """Ahead of pytest-django, which loads the settings here."""
    started = early_config.stash[STARTED] = []
    os.environ.setdefault("SECRET_KEY", secrets.token_urlsafe(50))
    os.environ["APP_ENV"] = "test"
    directory = early_config.stash[DIRECTORY] = Path(tempfile.mkdtemp(prefix="mia-tests-"))
    our_guardian().remove_directory_at_the_end(directory)
    provide_postgres(directory, started)
    provide_redis(directory, started)
    return (yield)


def provide_postgres(directory: Path, started: list[Postgres | Redis]) -> None:
    if worker_number() is not None:
        return  # the controller's, inherited through DATABASE_URL
    if given := os.environ.get("TEST_DATABASE_URL"):
        os.environ["DATABASE_URL"] = given
        return
    server = Postgres(directory, durable=False, max_connections=300)
    server.start()
    started.append(server)
    os.environ["DATABASE_URL"] = server.url


def provide_redis(directory: Path, started: list[Postgres | Redis]) -> None:
    if given := os.environ.get("TEST_REDIS_URL"):
        os.environ["REDIS_URL"] = f"{given.split('?')[0]}?db={(worker_number() or 0) % 16}"
        return
    server = Redis(directory, durable=False)
    server.start()
    started.append(server)
    os.environ["REDIS_URL"] = server.url


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    for server in reversed(config.stash.get(STARTED, [])):
        server.stop()
    if directory := config.stash.get(DIRECTORY, None):
        shutil.rmtree(directory, ignore_errors=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that all workers end together; a browser test that cannot run here says why.

    What drives whole processes and browsers against the clock is tried once more where it fails, and says so at the
    end: a machine that stood still for seconds proves nothing.
    """
    long = {item.path for item in items if item.get_closest_marker("chaos")}
    items.sort(key=lambda item: item.path not in long)
    for item in items:
        if item.get_closest_marker("chaos") or item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))
    if Path(CHROMIUM).exists():
        return
    skipped = pytest.mark.skip(reason=f"needs Chromium ({CHROMIUM}): apt-get install chromium")
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(skipped)


@pytest.fixture(scope="session")
def redis_client() -> Iterator[redis.Redis]:
    """The run's Redis, past every cache of ours; emptied after each test that left something in it."""
    with redis.Redis.from_url(os.environ["REDIS_URL"], socket_timeout=5) as client:
        yield client


@pytest.fixture(autouse=True)
def _empty_redis(redis_client: redis.Redis) -> Iterator[None]:
    yield
    if redis_client.dbsize():
        redis_client.flushdb()


@pytest.fixture
def embedded_redis(pytestconfig: pytest.Config) -> Iterator[Redis]:
    """The run's own Redis server, to stop, crash and start again; it runs again when the test ends."""
    server = running(pytestconfig, Redis)
    yield server
    if not server.answers():
        server.crash()
        server.start()


def running(config: pytest.Config, kind: type[Redis]) -> Redis:
    for server in config.stash[STARTED]:
        if isinstance(server, kind):
            return server
    pytest.skip("needs the run's own server, not one named by TEST_REDIS_URL")


@pytest.fixture
def own_postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A PostgreSQL for this test alone, durable, to restart and crash."""
    server = Postgres(tmp_path_factory.mktemp("postgres"), max_connections=60)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A Redis for this test alone, durable, to restart and crash."""
    server = Redis(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()
