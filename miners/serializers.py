"""The shapes of the network's API beside the hot lane's."""

from typing import Any

from rest_framework import serializers

from miners import limits
from miners.choices import MinerStatus
from miners.models import Attempt, Miner
from miners.wire import FiniteFloatField, RegistrationSerializer

__all__ = ["RegistrationSerializer"]

RESULT_STATUSES = ["ok", "error", "refused"]


class ConfigSerializer(serializers.Serializer[Any]):
    """The limits a miner works with, in milliseconds."""

    poll_wait_ms = serializers.IntegerField()
    offer_ms = serializers.IntegerField()
    lease_ms = serializers.IntegerField()
    renew_ms = serializers.IntegerField()
    flush_ms = serializers.IntegerField()
    heartbeat_ms = serializers.IntegerField()
    max_slots = serializers.IntegerField()


class RegisteredSerializer(serializers.Serializer[Any]):
    """The answer to a registration; the key is there once, and null for a miner that showed its own."""

    miner_id = serializers.IntegerField()
    auth_key = serializers.CharField(allow_null=True)
    message = serializers.CharField()
    state = serializers.CharField()
    config = ConfigSerializer()


class UsageSerializer(serializers.Serializer[Any]):
    """What an answer cost, as the engine counted it."""

    prompt_tokens = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False)
    completion_tokens = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False)
    cached_tokens = serializers.IntegerField(min_value=0, max_value=10_000_000, required=False)


class EngineErrorSerializer(serializers.Serializer[Any]):
    """Why an engine produced no answer."""

    code = serializers.CharField(max_length=50, required=False, allow_blank=True)
    retryable = serializers.BooleanField(required=False)
    message = serializers.CharField(max_length=500, required=False, allow_blank=True)


class ResultSerializer(serializers.Serializer[Any]):
    """What a miner hands in for a job."""

    job_id = serializers.UUIDField()
    session_id = serializers.CharField(max_length=100, required=False, allow_blank=True, allow_null=True)
    miner_id = serializers.IntegerField(required=False)
    output = serializers.CharField(
        max_length=limits.MAX_OUTPUT_CHARS, allow_blank=True, trim_whitespace=False, default=""
    )
    success = serializers.BooleanField(default=True)
    tokens_generated = serializers.IntegerField(min_value=0, max_value=10_000_000, default=0)
    attempt = serializers.IntegerField(min_value=0, max_value=32_767, required=False, allow_null=True)
    fence = serializers.IntegerField(min_value=0, max_value=2**63 - 1, required=False, allow_null=True)
    status = serializers.ChoiceField(RESULT_STATUSES, required=False)
    finish_reason = serializers.CharField(max_length=20, required=False, allow_blank=True, allow_null=True)
    tool_calls = serializers.ListField(child=serializers.JSONField(), max_length=64, required=False, allow_null=True)
    usage = UsageSerializer(required=False, allow_null=True)
    timing = serializers.DictField(child=FiniteFloatField(), required=False, allow_null=True)
    model = serializers.CharField(max_length=200, required=False, allow_blank=True, allow_null=True)
    model_digest = serializers.CharField(max_length=200, required=False, allow_blank=True, allow_null=True)
    output_sha256 = serializers.CharField(max_length=64, required=False, allow_blank=True, allow_null=True)
    error = EngineErrorSerializer(required=False, allow_null=True)


class ResultReplySerializer(serializers.Serializer[Any]):
    """The platform's word on a result."""

    job_id = serializers.UUIDField()
    status = serializers.CharField()
    message = serializers.CharField()
    accepted = serializers.BooleanField()
    duplicate = serializers.BooleanField()


class StatusSerializer(serializers.Serializer[Any]):
    """What a miner says it is doing."""

    status = serializers.ChoiceField(MinerStatus.choices)


class StatusReplySerializer(serializers.Serializer[Any]):
    """A status that was taken note of."""

    miner_id = serializers.IntegerField()
    status = serializers.CharField()
    message = serializers.CharField()


class PublicMinerSerializer(serializers.ModelSerializer[Miner]):
    """A miner as anybody may see it: no address, no key."""

    miner_id = serializers.IntegerField(source="pk")
    trust = serializers.CharField(source="get_trust_display")
    models = serializers.ListField(source="model_ids", child=serializers.CharField())

    class Meta:
        model = Miner
        fields = (
            "miner_id",
            "name",
            "gpu_name",
            "gpu_memory_mb",
            "models",
            "slots",
            "status",
            "trust",
            "job_count",
            "total_tokens_generated",
            "created_at",
            "last_active",
        )


class RefusalSerializer(serializers.ModelSerializer[Attempt]):
    """An attempt that did not count, and why."""

    fence = serializers.CharField()
    reason = serializers.CharField()

    class Meta:
        model = Attempt
        fields = ("fence", "job", "outcome", "reason", "is_fault", "is_blamed", "offered_at", "ended_at")


class OwnMinerSerializer(PublicMinerSerializer):
    """A miner as it sees itself."""

    trust_reason = serializers.CharField()
    earnings_usd = serializers.CharField(allow_null=True, help_text="Null until prices are set.")
    refusals = RefusalSerializer(many=True)

    class Meta(PublicMinerSerializer.Meta):
        fields: tuple[str, ...] = (  # type: ignore[assignment]
            *PublicMinerSerializer.Meta.fields,
            "trust_reason",
            "fault_count",
            "canaries_passed",
            "canaries_failed",
            "drain_requested",
            "pause_requested",
            "earnings_usd",
            "refusals",
        )
