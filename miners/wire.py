"""The miner protocol's shapes: what comes in is checked here, what goes out is built here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from rest_framework import serializers

from miners import limits
from miners.choices import JobPhase, Lane, MinerStatus
from miners.dispatch import Offer
from miners.profiles import MinerProfile
from miners.streams import Append

NO_JOB = {"job_id": None, "prompt": None, "context": None, "session_id": None, "business_id": None, "max_tokens": None}


class FiniteFloatField(serializers.FloatField):
    """A number that arithmetic survives: neither infinite nor NaN, and not a truth value."""

    def to_internal_value(self, data: Any) -> float:
        value = super().to_internal_value(data)
        if isinstance(data, bool) or not math.isfinite(value):
            self.fail("invalid")
        return value


class ModelSerializer(serializers.Serializer[Any]):
    """One model that a miner serves."""

    id = serializers.CharField(max_length=200)
    digest = serializers.CharField(max_length=200, required=False, allow_blank=True)
    backend = serializers.CharField(max_length=50, required=False, allow_blank=True)
    quant = serializers.CharField(max_length=50, required=False, allow_blank=True)
    max_context = serializers.IntegerField(min_value=256, max_value=10_000_000, default=4096)
    max_output = serializers.IntegerField(min_value=1, max_value=10_000_000, required=False)
    languages = serializers.ListField(child=serializers.CharField(max_length=20), max_length=200, required=False)
    features = serializers.ListField(child=serializers.CharField(max_length=50), max_length=50, default=list)


class GpuSerializer(serializers.Serializer[Any]):
    """One GPU of a miner."""

    name = serializers.CharField(max_length=100)
    vram_mb = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False)
    uuid_hash = serializers.CharField(max_length=100, required=False, allow_blank=True)


class RegistrationSerializer(serializers.Serializer[Any]):
    """A machine that wants to be a miner."""

    name = serializers.RegexField(r"^[\w .:@-]+$", max_length=100)
    ip_address = serializers.CharField(max_length=45, required=False, allow_blank=True, allow_null=True)
    gpu_name = serializers.CharField(max_length=100, required=False, allow_blank=True, allow_null=True)
    gpu_memory_mb = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False, allow_null=True)
    status = serializers.ChoiceField(MinerStatus.choices, required=False)
    agent = serializers.CharField(max_length=100, required=False, allow_blank=True)
    instance = serializers.CharField(max_length=64, required=False, allow_blank=True)
    models = ModelSerializer(many=True, required=False, max_length=50)  # type: ignore[call-arg]
    gpus = GpuSerializer(many=True, required=False, max_length=64)  # type: ignore[call-arg]
    slots = serializers.IntegerField(min_value=1, max_value=limits.MAX_SLOTS, default=1)
    lanes = serializers.ListField(
        child=serializers.ChoiceField(Lane.labels), allow_empty=False, max_length=len(Lane), required=False
    )
    bench = serializers.DictField(child=FiniteFloatField(), required=False)
    enrolment_token = serializers.CharField(max_length=100, required=False, allow_blank=True)


class HeartbeatJobSerializer(serializers.Serializer[Any]):
    """What a miner says of one job in its hands."""

    job_id = serializers.UUIDField()
    fence = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    phase = serializers.ChoiceField(JobPhase.choices, default=JobPhase.PREFILL)
    tokens = serializers.IntegerField(min_value=0, max_value=10_000_000, default=0)


class GpuStatsSerializer(serializers.Serializer[Any]):
    """How a miner's GPU is doing."""

    memory_used_mb = FiniteFloatField(min_value=0, max_value=1e7, required=False, allow_null=True)
    utilization = FiniteFloatField(min_value=0, max_value=100, required=False, allow_null=True)
    temperature = FiniteFloatField(min_value=-50, max_value=200, required=False, allow_null=True)
    memory_total_mb = FiniteFloatField(min_value=0, max_value=1e7, required=False, allow_null=True)
    power_w = FiniteFloatField(min_value=0, max_value=1e6, required=False, allow_null=True)


class HeartbeatSerializer(serializers.Serializer[Any]):
    """A miner's sign of life, which renews its leases."""

    miner_id = serializers.IntegerField(required=False)
    status = serializers.ChoiceField(MinerStatus.choices, default=MinerStatus.IDLE)
    slots_free = serializers.IntegerField(min_value=0, max_value=limits.MAX_SLOTS, default=0)
    jobs = HeartbeatJobSerializer(many=True, default=list, max_length=limits.MAX_SLOTS)  # type: ignore[call-arg]
    gpu = GpuStatsSerializer(required=False, allow_null=True)


class ChunkSerializer(serializers.Serializer[Any]):
    """A piece of one job's answer; `offset` counts the answer's characters before it."""

    job_id = serializers.UUIDField()
    fence = serializers.IntegerField(min_value=0, max_value=2**63 - 1)
    offset = serializers.IntegerField(min_value=0, max_value=limits.MAX_OUTPUT_CHARS)
    text = serializers.CharField(max_length=limits.MAX_CHUNK_CHARS, allow_blank=True, trim_whitespace=False)
    tokens = serializers.IntegerField(min_value=0, max_value=1_000_000, default=0)
    tool_delta = serializers.JSONField(required=False, allow_null=True)


class ChunksSerializer(serializers.Serializer[Any]):
    """One flush: the new text of all of a miner's jobs."""

    jobs = ChunkSerializer(many=True, max_length=limits.MAX_SLOTS)  # type: ignore[call-arg]


class PollSerializer(serializers.Serializer[Any]):
    """A miner asks for work."""

    miner_id = serializers.IntegerField(required=False)
    slots = serializers.IntegerField(min_value=1, max_value=limits.MAX_SLOTS, default=1)
    idle = serializers.BooleanField(default=True)
    wait = FiniteFloatField(min_value=0, max_value=limits.POLL_WAIT_LONGEST.total_seconds(), required=False)


@dataclass(frozen=True)
class Said:
    """What a heartbeat or a chunk says of one job."""

    job_id: UUID
    fence: int
    phase: str
    progressed: bool


def appends(data: Mapping[str, Any]) -> list[Append]:
    return [Append(job["job_id"], job["fence"], job["offset"], job["text"], job["tokens"]) for job in data["jobs"]]


def offer_body(offer: Offer) -> dict[str, Any]:
    """One job as a miner gets it: its words and limits, and nothing that names the business or the visitor."""
    return {
        "job_id": str(offer["id"]),
        "attempt": offer["attempt_count"],
        "fence": str(offer["fence"]),
        "kind": "chat" if offer["kind"] == "canary" else offer["kind"],
        "offer_ms": milliseconds(limits.OFFER),
        "deadline_ms": offer["deadline_ms"],
        "model": offer["model"],
        "messages": offer["messages"],
        "params": {"max_tokens": offer["max_tokens"], **offer["params"]},
        "tools": offer["tools"],
        "tool_choice": offer["tool_choice"] or "auto",
        "stream": offer["stream"],
        "resume_text": offer["resume_text"],
        "prefix_key": offer["prefix_key"],
    }


def poll_body(
    offers: Sequence[Offer], *, skipped: Mapping[str, int], cancel: Sequence[str], profile: MinerProfile
) -> dict[str, Any]:
    """The answer to a poll; its first job is mirrored at the top level, in the first protocol's shape."""
    return {
        **(first_protocol_job(offers[0]) if offers else NO_JOB),
        "message": "Job retrieved successfully" if offers else "No jobs available",
        "jobs": [offer_body(offer) for offer in offers],
        "skipped": dict(skipped),
        "cancel": list(cancel),
        "drain": profile.drain_requested,
        "pause": profile.pause_requested,
        "messages": [],
        "config": None,
    }


def first_protocol_job(offer: Offer) -> dict[str, Any]:
    """`prompt` and `context` as the first protocol had them; the session id is opaque and only good for this job."""
    spoken = [message for message in offer["messages"] if message.get("role") == "user"]
    system = [message for message in offer["messages"] if message.get("role") == "system"]
    return {
        "job_id": str(offer["id"]),
        "prompt": _text(spoken[-1]) if spoken else "",
        "context": "\n\n".join(_text(message) for message in system),
        "session_id": str(offer["id"]),
        "business_id": None,
        "max_tokens": offer["max_tokens"],
    }


def config_body(slots: int) -> dict[str, int]:
    return {
        "poll_wait_ms": milliseconds(limits.POLL_WAIT),
        "offer_ms": milliseconds(limits.OFFER),
        "lease_ms": milliseconds(limits.LEASE),
        "renew_ms": milliseconds(limits.RENEW),
        "flush_ms": milliseconds(limits.FLUSH),
        "heartbeat_ms": milliseconds(limits.HEARTBEAT),
        "max_slots": slots,
    }


def milliseconds(duration: timedelta) -> int:
    return int(duration.total_seconds() * 1000)


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else ""
