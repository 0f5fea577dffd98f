"""What the page of one miner shows: what it can do, how it did, what went wrong and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from redis.exceptions import RedisError

from mia.lib import phrases
from miners.choices import AttemptOutcome, Lane, MinerStatus, Trust
from miners.models import Attempt, CanaryTrial, Job, Miner
from miners.streams import tokens_per_second

ATTEMPTS_SHOWN: Final = 20
TRIALS_SHOWN: Final = 12
OUTCOME_TONES: Final = {
    AttemptOutcome.LIVE: "info",
    AttemptOutcome.ACCEPTED: "good",
    AttemptOutcome.OFFER_EXPIRED: "warn",
    AttemptOutcome.REFUSED: "warn",
    AttemptOutcome.GAVE_WAY: "",
    AttemptOutcome.CANCELLED: "",
    AttemptOutcome.LEASE_EXPIRED: "bad",
    AttemptOutcome.STALLED: "bad",
    AttemptOutcome.ERROR: "bad",
    AttemptOutcome.DEADLINE: "bad",
}
PRESENCE_TONES: Final = {"idle": "good", "busy": "info", "draining": "warn", "paused": "warn", "banned": "bad"}
TRUST_TONES: Final = {
    Trust.BANNED: "bad",
    Trust.SUSPECT: "bad",
    Trust.PROBATION: "warn",
    Trust.VERIFIED: "info",
    Trust.TRUSTED: "good",
}


def presence(miner: Miner, now: datetime) -> str:
    """What staff should take a miner to be doing, whatever it said last."""
    if miner.trust == Trust.BANNED:
        return "banned"
    if not miner.is_online(now) or miner.status == MinerStatus.OFFLINE:
        return "offline"
    if miner.drain_requested:
        return "draining"
    return "paused" if miner.pause_requested else miner.status


@dataclass(frozen=True)
class AttemptLine:
    """An attempt, as a line of a table."""

    attempt: Attempt
    tone: str
    charged: str
    reason: str
    remark: str = ""

    @classmethod
    def of(cls, attempt: Attempt, *, with_reason: bool = True) -> AttemptLine:
        tone = OUTCOME_TONES[AttemptOutcome(attempt.outcome)]
        reason, remark = (attempt.reason, attempt.remark) if with_reason else ("", "")
        return cls(attempt, tone, charged_to(attempt), reason, remark)

    @property
    def lasted(self) -> timedelta | None:
        return None if self.attempt.ended_at is None else self.attempt.ended_at - self.attempt.offered_at

    @property
    def acked_after(self) -> timedelta | None:
        return None if self.attempt.acked_at is None else self.attempt.acked_at - self.attempt.offered_at


def charged_to(attempt: Attempt) -> str:
    """Whose fault it was: a job that faults on two miners is blamed itself."""
    if attempt.is_blamed:
        return "miner"
    return "job" if attempt.is_fault else ""


@dataclass(frozen=True)
class ModelLine:
    """A model that a miner serves."""

    name: str
    backend: str
    quant: str
    context: int | None
    output: int | None
    features: list[str]
    languages: list[str]
    digest: str

    @classmethod
    def of(cls, served: dict[str, Any]) -> ModelLine:
        return cls(
            name=str(served.get("id", "")),
            backend=str(served.get("backend") or phrases.NOTHING),
            quant=str(served.get("quant") or phrases.NOTHING),
            context=served.get("max_context"),
            output=served.get("max_output"),
            features=list(served.get("features") or []),
            languages=list(served.get("languages") or []),
            digest=str(served.get("digest") or ""),
        )


@dataclass(frozen=True)
class MinerPage:
    """Everything on the page."""

    presence: str
    presence_tone: str
    trust_tone: str
    tokens_per_second: float
    running: list[Job]
    lanes: str
    models: list[ModelLine]
    gpus: list[tuple[str, str]]
    stats: list[tuple[str, str]]
    bench: list[tuple[str, str]]
    attempts: list[AttemptLine]
    trials: list[CanaryTrial]


def miner_page(miner: Miner, now: datetime) -> MinerPage:
    """Three queries, whatever the miner did. Runs in platform scope."""
    shown = presence(miner, now)
    attempts = Attempt.objects.filter(miner=miner).newest_first().select_related("job")
    trials = CanaryTrial.objects.filter(miner=miner).select_related("canary", "job").order_by("-created_at")
    return MinerPage(
        presence=shown,
        presence_tone=PRESENCE_TONES.get(shown, ""),
        trust_tone=TRUST_TONES[Trust(miner.trust)],
        tokens_per_second=_rate(miner, now),
        running=list(
            Job.objects.live().filter(miner=miner).exclude(state="queued").only("id", "kind", "state", "created_at")
        ),
        lanes=", ".join(Lane(lane).label for lane in miner.lanes),
        models=[ModelLine.of(served) for served in miner.served_models if isinstance(served, dict)],
        gpus=_gpus(miner),
        stats=_stats(miner.gpu_stats),
        bench=[
            (str(name).replace("_", " "), phrases.count(value))
            for name, value in miner.bench.items()
            if isinstance(value, int | float)
        ],
        attempts=[AttemptLine.of(attempt) for attempt in attempts[:ATTEMPTS_SHOWN]],
        trials=list(trials[:TRIALS_SHOWN]),
    )


def _rate(miner: Miner, now: datetime) -> float:
    try:
        return round(tokens_per_second(int(now.timestamp())).get(miner.pk, 0.0), 1)
    except RedisError:
        return 0.0


def _gpus(miner: Miner) -> list[tuple[str, str]]:
    listed = [gpu for gpu in miner.gpus if isinstance(gpu, dict)]
    if listed:
        return [(str(gpu.get("name", "GPU")), phrases.memory(gpu.get("vram_mb"))) for gpu in listed]
    return [(miner.gpu_name, phrases.memory(miner.gpu_memory_mb))] if miner.gpu_name else []


def _stats(stats: dict[str, Any]) -> list[tuple[str, str]]:
    shown = {
        "memory used": phrases.memory(stats.get("memory_used_mb")),
        "utilization": f"{stats['utilization']} %" if stats.get("utilization") is not None else "",
        "temperature": f"{stats['temperature']} °C" if stats.get("temperature") is not None else "",
        "power": f"{stats['power_w']:.0f} W" if stats.get("power_w") is not None else "",
    }
    return [(name, text) for name, text in shown.items() if text and text != phrases.NOTHING]
