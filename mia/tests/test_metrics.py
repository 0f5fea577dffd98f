"""The figures: in JSON and for Prometheus, read from their owners, and shown only to whom they are for."""

from datetime import UTC, datetime

import pytest
from django.contrib.auth import get_user_model
from django.db import OperationalError
from django.urls import path
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus
from rest_framework.test import APIClient

from mia import metrics
from mia.lib.metrics import Metric, MetricKind, Sample

urlpatterns = [path("metrics", metrics.MetricsView.as_view())]
TOKEN = "a-long-token-for-prometheus"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PROMETHEUS_ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
SEED_FIGURES = {
    "runpod_income_usd": 0.0,
    "total_idle_jobs_processed": 0,
    "total_buyback_usd": 0.0,
    "last_buyback_timestamp": None,
}


def network():
    by_lane = (Sample(3, {"lane": "chat"}), Sample(0, {"lane": "idle"}))
    return [
        Metric.single("miners_online", "Miners that were heard of lately.", 4),
        Metric("jobs_queued", "Jobs that wait.", MetricKind.GAUGE, by_lane),
        Metric("jobs_finished_total", "Jobs that ended.", MetricKind.COUNTER, (Sample(17, {"state": 'a"b\n'}),)),
    ]


def billing():
    return [
        Metric.single("total_buyback_usd", "Spent on buybacks.", 125.5),
        Metric.single("last_buyback_timestamp", "The last buyback.", MOMENT.timestamp(), MetricKind.MOMENT),
    ]


def impostor():
    return [Metric.single("miners_online", "Another.", 999)]


def broken():
    raise OperationalError("db.internal refused")


@pytest.fixture(autouse=True)
def _open(settings):
    settings.ROOT_URLCONF = __name__
    settings.METRICS_PUBLIC = True
    settings.METRICS_TOKEN = ""
    settings.METRICS_PROVIDERS = [f"{__name__}.network"]
    settings.MIDDLEWARE = [
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ]


@pytest.fixture
def api():
    return APIClient()


@pytest.fixture
def closed(settings):
    settings.METRICS_PUBLIC = False
    settings.METRICS_TOKEN = TOKEN


def prometheus(api, accept="text/plain;version=0.0.4"):
    response = api.get("/metrics", headers={"accept": accept})
    parse = parse_openmetrics if "openmetrics" in response.headers["Content-Type"] else parse_prometheus
    samples = [sample for family in parse(response.content.decode()) for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}


class TestJson:
    def test_figures_without_labels_are_numbers_and_others_lists(self, api):
        body = api.get("/metrics").json()
        assert body["miners_online"] == 4
        assert body["jobs_queued"] == [{"lane": "chat", "value": 3}, {"lane": "idle", "value": 0}]

    def test_without_billing_the_first_versions_figures_are_zero_and_null(self, api):
        body = api.get("/metrics").json()
        assert {name: body[name] for name in SEED_FIGURES} == SEED_FIGURES

    def test_with_billing_they_are_its_own(self, api, settings):
        settings.METRICS_PROVIDERS = [f"{__name__}.network", f"{__name__}.billing"]
        body = api.get("/metrics").json()
        assert body["total_buyback_usd"] == 125.5
        assert body["last_buyback_timestamp"] == "2026-01-02T03:04:05.000Z"
        assert body["runpod_income_usd"] == 0

    def test_without_any_provider_they_are_all_there_is(self, api, settings):
        settings.METRICS_PROVIDERS = []
        assert api.get("/metrics").json() == SEED_FIGURES

    def test_the_first_to_tell_a_figure_is_believed(self, settings):
        settings.METRICS_PROVIDERS = [f"{__name__}.network", f"{__name__}.impostor"]
        assert metrics.as_json(metrics.collect_metrics())["miners_online"] == 4

    def test_a_provider_without_its_database_is_a_503(self, api, settings):
        settings.METRICS_PROVIDERS = [f"{__name__}.broken"]
        response = api.get("/metrics")
        assert (response.status_code, response.json()["error_code"]) == (503, "UNAVAILABLE")
        assert b"db.internal" not in response.content

    @pytest.mark.parametrize("accept", ["", "*/*", "application/json", "text/html", "image/png"])
    def test_whoever_does_not_ask_for_text_gets_json(self, api, accept):
        assert api.get("/metrics", headers={"accept": accept}).headers["Content-Type"] == "application/json"


class TestPrometheus:
    @pytest.mark.parametrize(
        ("accept", "content_type"),
        [
            ("text/plain;version=0.0.4", "text/plain; version=0.0.4"),
            ("text/plain", "text/plain; version=0.0.4"),
            (PROMETHEUS_ACCEPT, "application/openmetrics-text; version=1.0.0"),
        ],
    )
    def test_the_format_is_the_one_asked_for(self, api, accept, content_type):
        assert api.get("/metrics", headers={"accept": accept}).headers["Content-Type"].startswith(content_type)

    @pytest.mark.parametrize("accept", ["text/plain;version=0.0.4", PROMETHEUS_ACCEPT])
    def test_its_own_parser_reads_every_figure(self, api, accept):
        samples = prometheus(api, accept)
        assert samples["mia_miners_online",] == 4
        assert samples["mia_jobs_queued", ("lane", "chat")] == 3
        assert samples["mia_jobs_finished_total", ("state", 'a"b\n')] == 17

    def test_a_moment_is_a_unix_time_and_a_missing_one_is_left_out(self, api, settings):
        assert ("mia_last_buyback_timestamp",) not in prometheus(api)
        settings.METRICS_PROVIDERS = [f"{__name__}.billing"]
        assert prometheus(api)["mia_last_buyback_timestamp",] == MOMENT.timestamp()

    def test_nothing_is_remembered_between_two_reads(self, api, settings):
        prometheus(api)
        settings.METRICS_PROVIDERS = []
        assert ("mia_miners_online",) not in prometheus(api)


@pytest.mark.usefixtures("closed")
class TestAccess:
    def test_a_stranger_is_refused(self, api):
        response = api.get("/metrics")
        assert (response.status_code, response.json()["error_code"]) == (401, "NOT_AUTHENTICATED")

    @pytest.mark.parametrize("scheme", ["Bearer", "bearer"])
    def test_the_token_opens_it(self, api, scheme):
        assert api.get("/metrics", headers={"authorization": f"{scheme} {TOKEN}"}).status_code == 200

    @pytest.mark.parametrize(
        "header", ["Bearer", "Bearer ", "Bearer x", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", "Bearer ü"]
    )
    def test_anything_else_does_not(self, api, header):
        assert api.get("/metrics", headers={"authorization": header}).status_code == 401

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Bearer None"])
    def test_an_unset_token_opens_nothing(self, api, settings, header):
        settings.METRICS_TOKEN = ""
        assert api.get("/metrics", headers={"authorization": header}).status_code == 401

    @pytest.mark.parametrize(
        ("rights", "status"),
        [
            ({"is_staff": True, "is_superuser": True}, 200),
            ({"is_staff": True}, 403),
            ({}, 403),
            ({"is_staff": True, "is_superuser": True, "is_active": False}, 401),
        ],
    )
    def test_of_all_sessions_only_the_platforms_own_staff_opens_it(self, api, db, rights, status):
        user = get_user_model().objects.create_user("somebody@mia.example", "a-long-password", **rights)
        api.force_login(user)
        assert api.get("/metrics").status_code == status

    def test_it_cannot_be_written(self, api):
        assert api.post("/metrics", headers={"authorization": f"Bearer {TOKEN}"}).status_code == 405
