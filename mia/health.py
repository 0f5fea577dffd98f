"""Whether this process lives, and whether it can do its work: `/`, `/health`, `/health/ready`, `/health/detailed`.

Open to everybody, so a reply names no host and no version, and the checks run at most once a second. PostgreSQL and its
tables are needed; without Redis or a dispatcher the platform is slower or a little deaf, which is degraded, not down.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import partial
from typing import Final

from django.db import Error as AnyDatabaseError
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import extend_schema
from redis.exceptions import RedisError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mia.lib.api import FirstRenderer
from mia.lib.drain import Drain, drain
from mia.lib.errors import Unavailable
from mia.lib.redis import sync_redis

SERVICE: Final = "MIA"
CHECK_TIMEOUT_S: Final = 1.0
REPORT_KEPT_S: Final = 1.0
BEAT_KEY: Final = "mia:dispatcher:beat"
BEAT_FRESH: Final = timedelta(seconds=10)


class Health(StrEnum):
    """How something is, best first."""

    OK = "ok"
    DEGRADED = "degraded"
    DOWN = "down"


HEALTH_STATUSES = [status.value for status in Health]


class NotHealthy(Exception):
    """A check found something wrong; the text is for everybody to read."""


@dataclass(frozen=True)
class Check:
    """One thing that is looked at, and how the platform is without it."""

    name: str
    run: Callable[[], None]
    without: Health


@dataclass(frozen=True)
class Finding:
    """What a check found, and how long it took."""

    status: Health
    latency_ms: float
    note: str = ""


@dataclass(frozen=True)
class Report:
    """The findings of one moment."""

    findings: Mapping[str, Finding]

    @property
    def status(self) -> Health:
        found = {finding.status for finding in self.findings.values()}
        return next((status for status in (Health.DOWN, Health.DEGRADED) if status in found), Health.OK)

    def as_json(self) -> dict[str, object]:
        checks = {
            name: {"status": finding.status.value, "latency_ms": finding.latency_ms, "note": finding.note}
            for name, finding in self.findings.items()
        }
        return {"status": self.status.value, "service": SERVICE, "checks": checks}


class Monitor:
    """Runs the checks side by side, with a second to answer, and keeps the report for the next second's callers."""

    def __init__(self, checks: Sequence[Check]) -> None:
        self._checks = checks
        self._threads = ThreadPoolExecutor(max_workers=2 * len(checks), thread_name_prefix="health")
        self._lock = threading.Lock()
        self._kept: tuple[float, Report] | None = None

    def report(self) -> Report:
        """The findings, at most a second old; takes a second at worst."""
        with self._lock:
            now = time.monotonic()
            if self._kept is None or now - self._kept[0] >= REPORT_KEPT_S:
                self._kept = now, self._look()
            return self._kept[1]

    def forget(self) -> None:
        """Looks again on the next call."""
        with self._lock:
            self._kept = None

    def _look(self) -> Report:
        give_up_at = time.monotonic() + CHECK_TIMEOUT_S
        running = [(check, self._threads.submit(_run, check)) for check in self._checks]
        return Report({check.name: _wait_for(check, future, give_up_at) for check, future in running})


def _wait_for(check: Check, future: Future[Finding], give_up_at: float) -> Finding:
    try:
        return future.result(timeout=max(0.0, give_up_at - time.monotonic()))
    except FutureTimeoutError:
        return Finding(check.without, CHECK_TIMEOUT_S * 1000, "gave no answer in time")


def _run(check: Check) -> Finding:
    started = time.perf_counter()
    try:
        check.run()
    except NotHealthy as error:
        return Finding(check.without, _ms_since(started), str(error))
    except (AnyDatabaseError, RedisError):
        return Finding(check.without, _ms_since(started), "does not answer")
    finally:
        connections.close_all()
    return Finding(Health.OK, _ms_since(started))


def _ms_since(started: float) -> float:
    return round((time.perf_counter() - started) * 1000, 1)


def check_process(draining: Drain) -> None:
    if draining.is_draining:
        raise NotHealthy("is shutting down")


def check_postgresql() -> None:
    """A statement gets through to every database, on connections of the pools that requests use."""
    for database in connections.all():
        with database.cursor() as cursor:
            cursor.execute("SELECT 1")


class MigrationsCheck:
    """The tables are those of this release; asked until they are, as they do not change back under a process."""

    def __init__(self) -> None:
        self._applied = False

    def __call__(self) -> None:
        if self._applied:
            return
        for database in connections.all():
            executor = MigrationExecutor(database)
            if executor.migration_plan(executor.loader.graph.leaf_nodes()):
                raise NotHealthy("migrations are missing")
        self._applied = True


def check_redis() -> None:
    sync_redis(timeout_s=CHECK_TIMEOUT_S).ping()


def check_dispatcher() -> None:
    beat = sync_redis(timeout_s=CHECK_TIMEOUT_S).get(BEAT_KEY)
    seen_at = None if beat is None else parse_datetime(str(beat))
    if seen_at is None or timezone.now() - seen_at > BEAT_FRESH:
        raise NotHealthy("is not running")


monitor: Final = Monitor(
    (
        Check("process", partial(check_process, drain), Health.DOWN),
        Check("postgresql", check_postgresql, Health.DOWN),
        Check("migrations", MigrationsCheck(), Health.DOWN),
        Check("redis", check_redis, Health.DEGRADED),
        Check("dispatcher", check_dispatcher, Health.DEGRADED),
    )
)


class LivenessSerializer(serializers.Serializer[object]):
    """That somebody answers."""

    status = serializers.CharField()
    service = serializers.CharField()


class FindingSerializer(serializers.Serializer[object]):
    """One dependency."""

    status = serializers.ChoiceField(choices=HEALTH_STATUSES)
    latency_ms = serializers.FloatField()
    note = serializers.CharField(allow_blank=True)


class ReadinessSerializer(LivenessSerializer):
    """Every dependency, by name."""

    checks = serializers.DictField(child=FindingSerializer())


class ProbeView(APIView):
    """An endpoint that any probe may ask at any time, whatever it sends along."""

    authentication_classes = []
    permission_classes = []
    throttle_classes = []
    content_negotiation_class = FirstRenderer


class RootView(ProbeView):
    """Who answers here."""

    @extend_schema(tags=["Health"], summary="Who answers here", responses=LivenessSerializer, auth=[])
    def get(self, request: Request) -> Response:
        return Response({"status": Health.OK.value, "service": SERVICE})


class LiveView(ProbeView):
    """This process lives; nothing else is looked at."""

    @extend_schema(tags=["Health"], summary="This process lives", responses=LivenessSerializer, auth=[])
    def get(self, request: Request) -> Response:
        return Response({"status": Health.OK.value, "service": SERVICE})


class ReadyView(ProbeView):
    """Whether this process should be sent work."""

    monitor = monitor

    @extend_schema(
        tags=["Health"],
        summary="Each dependency with its latency",
        description="503 when one that is needed is down. Without Redis or a dispatcher: 200 and degraded.",
        responses=ReadinessSerializer,
        auth=[],
    )
    def get(self, request: Request) -> Response:
        report = self.monitor.report()
        if report.status is Health.DOWN:
            raise Unavailable("A dependency is down.", extra=report.as_json())
        return Response(report.as_json())


class DetailedView(ReadyView):
    """The same for people, under the name that the first versions used."""
