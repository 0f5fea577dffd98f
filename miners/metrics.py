"""The network's figures for `/metrics`."""

from collections.abc import Sequence

from django.db.models import Count, Sum
from django.utils import timezone

from accounts.tenancy import platform_scope
from mia.lib.metrics import Metric, MetricKind, Sample
from miners import network
from miners.choices import JobState, Lane, Trust
from miners.models import Attempt, Job, Miner
from miners.network import Latency, Snapshot


def collect() -> Sequence[Metric]:
    """The live state and the totals, from PostgreSQL and Redis."""
    now = timezone.now()
    with platform_scope():
        latency = network.measure_latency(now=now)
        return [*_state(network.snapshot(now=now, latency=latency)), *_latencies(latency), *_totals()]


def _state(state: Snapshot) -> list[Metric]:
    lanes = {Lane.CHAT: state.queued_chat, Lane.API: state.queued_api, Lane.IDLE: state.queued_idle}
    return [
        Metric.single("miners_online", "Miners heard of within twenty seconds.", state.online),
        Metric.single("miners_idle", "Miners that could take a job at once.", state.idle),
        Metric.single("miners_busy", "Miners at work.", state.busy),
        Metric.single("jobs_running", "Jobs in miners' hands.", state.running),
        Metric.single("tokens_per_second", "What all miners write together.", state.tokens_per_second),
        Metric(
            "jobs_queued",
            "Jobs that wait for a miner, by lane.",
            MetricKind.GAUGE,
            tuple(Sample(count, {"lane": lane.label}) for lane, count in lanes.items()),
        ),
    ]


def _latencies(latency: Latency) -> list[Metric]:
    return [
        _quantiles(
            "schedule_to_start_ms", "From submission to a miner's hands.", latency.start_p50_ms, latency.start_p95_ms
        ),
        _quantiles(
            "first_token_ms",
            "From submission to the first word.",
            latency.first_token_p50_ms,
            latency.first_token_p95_ms,
        ),
    ]


def _quantiles(name: str, text: str, p50: float | None, p95: float | None) -> Metric:
    samples = (Sample(p50, {"quantile": "0.5"}), Sample(p95, {"quantile": "0.95"}))
    return Metric(name, text, MetricKind.GAUGE, samples)


def _totals() -> list[Metric]:
    ended = dict(Job.objects.exclude(finished_at=None).values_list("state").annotate(Count("pk")))
    outcomes = Attempt.objects.exclude(outcome="").values_list("outcome").annotate(Count("pk")).order_by("outcome")
    miners = Miner.objects.aggregate(jobs=Sum("job_count"), tokens=Sum("total_tokens_generated"))
    trusts = dict(Miner.objects.values_list("trust").annotate(Count("pk")))
    terminal = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
    return [
        Metric(
            "jobs_ended",
            "Jobs that ended, by how.",
            MetricKind.COUNTER,
            tuple(Sample(ended.get(state, 0), {"state": str(state)}) for state in terminal),
        ),
        Metric(
            "attempts_ended",
            "Attempts that ended, by how.",
            MetricKind.COUNTER,
            tuple(Sample(count, {"outcome": outcome}) for outcome, count in outcomes)
            or (Sample(0, {"outcome": "accepted"}),),
        ),
        Metric(
            "miners_registered",
            "Miners, by trust.",
            MetricKind.GAUGE,
            tuple(Sample(trusts.get(trust, 0), {"trust": trust.label}) for trust in Trust),
        ),
        Metric.single("answers_accepted", "Answers accepted from miners.", miners["jobs"] or 0, MetricKind.COUNTER),
        Metric.single("tokens_generated", "Tokens of accepted answers.", miners["tokens"] or 0, MetricKind.COUNTER),
    ]
