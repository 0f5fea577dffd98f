"""The probes: what they say while all is well, and while something is really down."""

import signal
import threading
import time
from datetime import timedelta

import pytest
from django.db import OperationalError, connection
from django.urls import path
from django.utils import timezone
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework.test import APIClient

from mia import health
from mia.health import BEAT_KEY, Check, Health, MigrationsCheck, Monitor, NotHealthy, monitor
from mia.lib.drain import Drain
from mia.lib.redis import sync_redis


def fine():
    pass


def failing(error):
    def check():
        raise error

    return check


BROKEN = Monitor([Check("postgresql", failing(OperationalError("host db.internal")), Health.DOWN)])
urlpatterns = [
    path("health/broken", health.ReadyView.as_view(monitor=BROKEN)),
    path("", health.RootView.as_view()),
    path("health", health.LiveView.as_view()),
    path("health/live", health.LiveView.as_view()),
    path("health/ready", health.ReadyView.as_view()),
    path("health/detailed", health.DetailedView.as_view()),
]


@pytest.fixture(autouse=True)
def _fresh(settings):
    settings.ROOT_URLCONF = __name__
    settings.MIDDLEWARE = ["mia.lib.middleware.RequestIdMiddleware"]
    monitor.forget()
    yield
    monitor.forget()


@pytest.fixture
def api():
    return APIClient()


@pytest.fixture
def dispatcher():
    """One that has just told that it lives."""
    sync_redis().set(BEAT_KEY, timezone.now().isoformat())


@pytest.fixture
def ready(api, db, dispatcher):
    """The readiness that is found right now; the tables are the test database's."""

    def look(address="/health/ready"):
        monitor.forget()
        return api.get(address)

    return look


class TestLiveness:
    @pytest.mark.parametrize("address", ["/", "/health", "/health/live"])
    def test_it_tells_the_status_and_the_service(self, api, address):
        assert api.get(address).json() == {"status": "ok", "service": "MIA"}

    @pytest.mark.parametrize("address", ["/", "/health", "/health/live"])
    def test_it_needs_neither_database_nor_redis(self, api, embedded_redis, address):
        embedded_redis.crash()
        assert api.get(address).status_code == 200

    @pytest.mark.parametrize("accept", ["text/html", "image/png", "nonsense", ""])
    def test_any_probe_can_read_it(self, api, accept):
        assert api.get("/health", headers={"accept": accept}).status_code == 200
        assert api.get("/health?format=xml").status_code == 200

    def test_a_bad_credential_does_not_matter(self, api):
        assert api.get("/health", headers={"authorization": "Bearer mia_sk_forged"}).status_code == 200

    def test_it_is_read_and_never_written(self, api):
        assert api.post("/health").status_code == 405
        assert api.head("/health").status_code == 200


class TestReadiness:
    @pytest.mark.parametrize("address", ["/health/ready", "/health/detailed"])
    def test_all_is_well(self, ready, address):
        response = ready(address)
        body = response.json()
        assert (response.status_code, body["status"], body["service"]) == (200, "ok", "MIA")
        assert set(body["checks"]) == {"process", "postgresql", "migrations", "redis", "dispatcher"}

    def test_every_check_tells_its_latency(self, ready):
        for check in ready().json()["checks"].values():
            assert check["status"] == "ok"
            assert 0 <= check["latency_ms"] < 1000

    def test_without_redis_it_is_degraded_and_still_200(self, ready, embedded_redis):
        embedded_redis.crash()
        response = ready()
        assert (response.status_code, response.json()["status"]) == (200, "degraded")
        assert response.json()["checks"]["redis"]["note"] == "does not answer"

    def test_a_redis_that_hangs_is_given_a_second(self, ready, embedded_redis):
        embedded_redis.child.send(signal.SIGSTOP)
        started = time.monotonic()
        body = ready().json()
        embedded_redis.child.send(signal.SIGCONT)
        assert (body["status"], body["checks"]["redis"]["status"]) == ("degraded", "degraded")
        assert time.monotonic() - started < 1.5

    def test_without_a_dispatcher_it_is_degraded(self, ready):
        sync_redis().delete(BEAT_KEY)
        assert ready().json()["checks"]["dispatcher"] | {"latency_ms": 0} == {
            "status": "degraded",
            "latency_ms": 0,
            "note": "is not running",
        }

    @pytest.mark.parametrize(("age_s", "status"), [(0, "ok"), (9, "ok"), (11, "degraded"), (3600, "degraded")])
    def test_an_old_sign_of_life_is_none(self, ready, age_s, status):
        sync_redis().set(BEAT_KEY, (timezone.now() - timedelta(seconds=age_s)).isoformat())
        assert ready().json()["checks"]["dispatcher"]["status"] == status

    def test_an_unreadable_sign_of_life_is_none(self, ready):
        sync_redis().set(BEAT_KEY, "junk")
        assert ready().json()["status"] == "degraded"

    def test_a_needed_thing_that_is_down_is_a_503_in_the_error_shape(self, api):
        response = api.get("/health/broken")
        body = response.json()
        assert (response.status_code, body["error_code"], body["status"]) == (503, "UNAVAILABLE", "down")
        assert body["checks"]["postgresql"]["note"] == "does not answer"
        assert response.headers["Retry-After"]

    def test_no_host_name_version_or_password_is_told(self, ready, embedded_redis, settings):
        embedded_redis.crash()
        text = ready().content.decode()
        database = settings.DATABASES["default"]
        assert not any(str(part) in text for part in [database["HOST"], settings.REDIS_URL, settings.VERSION] if part)

    def test_a_process_that_drains_wants_no_more_work(self):
        draining = Drain()
        health.check_process(draining)
        draining.begin()
        with pytest.raises(NotHealthy, match="shutting down"):
            health.check_process(draining)


class TestMigrationsCheck:
    def test_missing_migrations_are_found_and_then_no_longer_missing(self, db):
        check = MigrationsCheck()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM django_migrations WHERE app = 'sessions'")
        with pytest.raises(NotHealthy, match="migrations are missing"):
            check()
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO django_migrations (app, name, applied) VALUES ('sessions', '0001_initial', now())"
            )
        check()

    def test_once_applied_they_are_not_looked_at_again(self, db, django_assert_num_queries):
        check = MigrationsCheck()
        check()
        with django_assert_num_queries(0):
            check()


class TestMonitor:
    @pytest.mark.parametrize(("without", "status"), [(Health.DOWN, Health.DOWN), (Health.DEGRADED, Health.DEGRADED)])
    def test_the_worst_finding_decides(self, without, status):
        checks = [Check("a", fine, Health.DOWN), Check("b", failing(NotHealthy("no")), without)]
        assert Monitor(checks).report().status is status

    def test_down_is_worse_than_degraded(self):
        checks = [
            Check("a", failing(NotHealthy("no")), Health.DEGRADED),
            Check("b", failing(RedisConnectionError()), Health.DOWN),
        ]
        assert Monitor(checks).report().status is Health.DOWN

    def test_checks_run_side_by_side_and_get_a_second_together(self):
        release = threading.Event()
        checks = [Check(str(number), lambda: release.wait(5), Health.DOWN) for number in range(3)]
        started = time.monotonic()
        report = Monitor(checks).report()
        release.set()
        assert time.monotonic() - started < 1.3
        assert {finding.note for finding in report.findings.values()} == {"gave no answer in time"}

    def test_a_crowd_causes_one_look_a_second(self):
        looks = []
        watching = Monitor([Check("a", lambda: looks.append(1), Health.DOWN)])
        threads = [threading.Thread(target=watching.report) for _ in range(50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(looks) == 1

    def test_a_look_that_was_forgotten_is_taken_again(self):
        looks = []
        watching = Monitor([Check("a", lambda: looks.append(1), Health.DOWN)])
        watching.report()
        watching.forget()
        watching.report()
        assert len(looks) == 2
