"""The network's state at this moment, as the live dashboard, the metrics and the charts show it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from django.db import connection
from redis.exceptions import RedisError

from miners.choices import JobState, Lane, MinerStatus
from miners.models import Job, Miner, NetworkSample
from miners.streams import tokens_per_second

LATENCY_WINDOW: Final = timedelta(minutes=15)
SAMPLES_KEPT: Final = timedelta(hours=24)

COUNTS: Final = """
SELECT state, lane, count(*) FROM miners_job
WHERE state IN ('queued', 'offered', 'running') AND kind <> 'canary' GROUP BY state, lane
"""

LATENCIES: Final = """
SELECT
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM offered_at - created_at) * 1000)
    FILTER (WHERE offered_at IS NOT NULL AND attempt_count = 1),
  percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY extract(epoch FROM first_token_at - created_at) * 1000)
    FILTER (WHERE first_token_at IS NOT NULL)
FROM miners_job WHERE created_at > %(since)s AND lane < 2 AND kind <> 'canary'
"""


class MinerRow(TypedDict):
    """One miner on the live dashboard."""

    id: int
    name: str
    gpu: str
    model: str
    status: str
    trust: str
    slots: int
    slots_free: int
    jobs: list[str]
    tokens_per_second: float
    job_count: int
    total_tokens_generated: int
    last_active: str | None


@dataclass(frozen=True)
class Latency:
    """Milliseconds over the last fifteen minutes; None when nothing happened."""

    start_p50_ms: float | None
    start_p95_ms: float | None
    first_token_p50_ms: float | None
    first_token_p95_ms: float | None


@dataclass(frozen=True)
class Snapshot:
    """Everything that the live dashboard shows."""

    at: str
    online: int
    idle: int
    busy: int
    queued_chat: int
    queued_api: int
    queued_idle: int
    running: int
    tokens_per_second: float
    latency: Latency
    miners: list[MinerRow]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure_latency(*, now: datetime) -> Latency:
    """Schedule-to-start and time-to-first-token of real jobs. Runs in platform scope."""
    with connection.cursor() as cursor:
        cursor.execute(LATENCIES, {"since": now - LATENCY_WINDOW})
        start, first_token = cursor.fetchone()
    start, first_token = start or [None, None], first_token or [None, None]
    return Latency(start[0], start[1], first_token[0], first_token[1])


def snapshot(*, now: datetime, latency: Latency) -> Snapshot:
    """The present state; four queries, whatever the number of miners. Runs in platform scope."""
    rates = _rates(now)
    rows = [_miner_row(miner, jobs, rates) for miner, jobs in _miners_with_jobs(now)]
    queued, running = _job_counts()
    return Snapshot(
        at=now.isoformat(),
        online=len(rows),
        idle=sum(row["status"] == MinerStatus.IDLE for row in rows),
        busy=sum(row["status"] == MinerStatus.BUSY for row in rows),
        queued_chat=queued[Lane.CHAT],
        queued_api=queued[Lane.API],
        queued_idle=queued[Lane.IDLE],
        running=running,
        tokens_per_second=round(sum(rates.values()), 1),
        latency=latency,
        miners=rows,
    )


def keep_sample(snapshot_: Snapshot, *, now: datetime) -> None:
    """One point of the charts; points older than a day are dropped."""
    NetworkSample.objects.get_or_create(
        at=now,
        defaults={
            "online": snapshot_.online,
            "idle": snapshot_.idle,
            "busy": snapshot_.busy,
            "queued_chat": snapshot_.queued_chat,
            "queued_api": snapshot_.queued_api,
            "queued_idle": snapshot_.queued_idle,
            "running": snapshot_.running,
            "tokens_per_second": snapshot_.tokens_per_second,
            **asdict(snapshot_.latency),
        },
    )
    NetworkSample.objects.filter(at__lt=now - SAMPLES_KEPT).delete()


def history(*, now: datetime, window: timedelta = timedelta(hours=1)) -> list[NetworkSample]:
    """The samples of the last hour, oldest first."""
    return list(NetworkSample.objects.filter(at__gt=now - window).order_by("at"))


def _rates(now: datetime) -> dict[int, float]:
    try:
        return tokens_per_second(int(now.timestamp()))
    except RedisError:
        return {}


def _miners_with_jobs(now: datetime) -> list[tuple[Miner, list[str]]]:
    miners = list(Miner.objects.online(now).in_public_order())
    held: dict[int, list[str]] = {}
    running = Job.objects.filter(state__in=[JobState.OFFERED, JobState.RUNNING]).order_by("started_at")
    for miner_id, job_id in running.values_list("miner_id", "id"):
        held.setdefault(miner_id or 0, []).append(str(job_id)[:8])
    return [(miner, held.get(miner.pk, [])) for miner in miners]


def _miner_row(miner: Miner, jobs: list[str], rates: dict[int, float]) -> MinerRow:
    status = miner.status
    if status in {MinerStatus.IDLE, MinerStatus.BUSY}:
        # Its own word is up to a heartbeat old; the jobs in its hands are known now.
        status = MinerStatus.BUSY if jobs else MinerStatus.IDLE
    if miner.pause_requested:
        status = MinerStatus.PAUSED
    if miner.drain_requested:
        status = MinerStatus.DRAINING
    return {
        "id": miner.pk,
        "name": miner.name,
        "gpu": miner.gpu_name or "no GPU",
        "model": ", ".join(miner.model_ids) or "any",
        "status": status,
        "trust": miner.get_trust_display(),
        "slots": miner.slots,
        "slots_free": max(miner.slots - len(jobs), 0),
        "jobs": jobs,
        "tokens_per_second": round(rates.get(miner.pk, 0.0), 1),
        "job_count": miner.job_count,
        "total_tokens_generated": miner.total_tokens_generated,
        "last_active": miner.last_active.isoformat() if miner.last_active else None,
    }


def _job_counts() -> tuple[dict[int, int], int]:
    queued: dict[int, int] = {Lane.CHAT: 0, Lane.API: 0, Lane.IDLE: 0}
    running = 0
    with connection.cursor() as cursor:
        cursor.execute(COUNTS)
        for state, lane, count in cursor.fetchall():
            if state == JobState.QUEUED:
                queued[lane] += count
            else:
                running += count
    return queued, running
