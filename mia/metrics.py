"""`GET /metrics`: the platform's figures as JSON, and as Prometheus text for whoever asks for that.

Nothing is counted in this process, of which there are many: every figure is read from PostgreSQL or Redis by the
functions that METRICS_PROVIDERS names. The four figures that clients of the first versions rely on are always there;
while no provider tells them, there is no income, no processed idle job and no buyback to tell of: zero and null.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime

from django.conf import settings
from django.http import HttpResponse
from django.http.response import HttpResponseBase
from django.utils.crypto import constant_time_compare
from django.utils.module_loading import import_string
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric as PrometheusMetric
from prometheus_client.registry import Collector
from rest_framework.authentication import SessionAuthentication
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from mia.lib.api import FirstRenderer
from mia.lib.errors import format_timestamp
from mia.lib.metrics import Metric, MetricKind

Provider = Callable[[], Sequence[Metric]]

PREFIX = "mia_"
PROMETHEUS_TYPES = ("text/plain", "application/openmetrics-text")

ALWAYS_TOLD = (
    Metric.single("runpod_income_usd", "Income from idle jobs run on RunPod.", 0.0),
    Metric.single("total_idle_jobs_processed", "Idle jobs that were completed.", 0),
    Metric.single("total_buyback_usd", "Spent on buybacks.", 0.0),
    Metric.single("last_buyback_timestamp", "When the last buyback was made.", None, MetricKind.MOMENT),
)


def collect_metrics() -> list[Metric]:
    """Every figure of every provider; one name is told once, by the first provider that has it."""
    told: dict[str, Metric] = {}
    for path in settings.METRICS_PROVIDERS:
        provider: Provider = import_string(path)
        for metric in provider():
            told.setdefault(metric.name, metric)
    defaults = {metric.name: metric for metric in ALWAYS_TOLD}
    return list((defaults | told).values())


def as_json(metrics: Iterable[Metric]) -> dict[str, object]:
    """Name → value, or → a list of {label…, value} for a figure with labels."""
    return {metric.name: _json_value(metric) for metric in metrics}


def _json_value(metric: Metric) -> object:
    if len(metric.samples) == 1 and not metric.samples[0].labels:
        return _json_number(metric, metric.samples[0].value)
    return [{**sample.labels, "value": _json_number(metric, sample.value)} for sample in metric.samples]


def _json_number(metric: Metric, value: float | None) -> float | str | None:
    if value is None or metric.kind is not MetricKind.MOMENT:
        return value
    return format_timestamp(datetime.fromtimestamp(value, UTC))


class PlatformCollector(Collector):
    """Hands the figures to prometheus_client, which keeps none of them."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[PrometheusMetric]:
        """The figures as prometheus_client knows them; what has no value yet is left out."""
        for metric in self._metrics:
            samples = [sample for sample in metric.samples if sample.value is not None]
            names = sorted(samples[0].labels) if samples else []
            family = _family(metric)(PREFIX + metric.name, metric.text, labels=names)
            for sample in samples:
                family.add_metric([sample.labels[name] for name in names], float(sample.value or 0))
            yield family


def _family(metric: Metric) -> type[CounterMetricFamily | GaugeMetricFamily]:
    return CounterMetricFamily if metric.kind is MetricKind.COUNTER else GaugeMetricFamily


def as_prometheus(metrics: Iterable[Metric], accept: str) -> HttpResponse:
    """The text format that the Accept header asks for."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(PlatformCollector(list(metrics)))
    encode, content_type = choose_encoder(accept)
    return HttpResponse(encode(registry), content_type=content_type)


class MayReadMetrics(BasePermission):
    """Everybody where METRICS_PUBLIC says so; else the holder of METRICS_TOKEN, and the platform's own staff."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return bool(settings.METRICS_PUBLIC) or _has_token(request) or _is_platform_staff(request)


def _has_token(request: Request) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = str(settings.METRICS_TOKEN)
    return bool(expected) and scheme.lower() == "bearer" and constant_time_compare(token.strip(), expected)


def _is_platform_staff(request: Request) -> bool:
    """Staff of a business are in the admin too; figures of the whole network are not theirs."""
    user = request.user
    return bool(user and user.is_active and getattr(user, "is_superuser", False))


class MetricsView(APIView):
    """The platform's figures."""

    authentication_classes = [SessionAuthentication]
    permission_classes = [MayReadMetrics]
    throttle_classes = []
    content_negotiation_class = FirstRenderer

    @extend_schema(
        operation_id="metrics",
        tags=["Health"],
        summary="The platform's figures",
        description="JSON, or Prometheus text when Accept asks for it. Open where METRICS_PUBLIC says so; "
        "else for a superuser's session, or with METRICS_TOKEN as a bearer token.",
        responses={
            (200, "application/json"): OpenApiResponse(OpenApiTypes.OBJECT, "Figures by name."),
            (200, "text/plain"): OpenApiResponse(OpenApiTypes.STR, "Prometheus text."),
        },
    )
    def get(self, request: Request) -> HttpResponseBase:
        accept = request.headers.get("Accept", "")
        metrics = collect_metrics()
        if any(media_type in accept for media_type in PROMETHEUS_TYPES):
            return as_prometheus(metrics, accept)
        return Response(as_json(metrics))
