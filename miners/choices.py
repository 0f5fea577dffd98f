"""The states and kinds that the network's rows take."""

from django.db import models


class Lane(models.IntegerChoices):
    """Order of claiming: a lower lane always goes first."""

    CHAT = 0, "chat"
    API = 1, "api"
    IDLE = 2, "idle"


class JobKind(models.TextChoices):
    """What a job is for; a canary's answer is judged and thrown away, embed and rerank jobs are answered by numbers."""

    CHAT = "chat"
    API = "api"
    IDLE = "idle"
    CANARY = "canary"
    EMBED = "embed"
    RERANK = "rerank"


class JobState(models.TextChoices):
    """Where a job is in its life."""

    QUEUED = "queued"
    OFFERED = "offered"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


LIVE_STATES = (JobState.QUEUED, JobState.OFFERED, JobState.RUNNING)
TERMINAL_STATES = (JobState.COMPLETED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)


class JobPhase(models.TextChoices):
    """What the miner says it is doing with a running job."""

    NONE = "", "not started"
    PREFILL = "prefill", "reading the prompt"
    DECODE = "decode", "writing"


class AttemptOutcome(models.TextChoices):
    """How an attempt ended; empty while it lives."""

    LIVE = "", "live"
    ACCEPTED = "accepted"
    OFFER_EXPIRED = "offer_expired", "offer expired"
    LEASE_EXPIRED = "lease_expired", "lease expired"
    STALLED = "stalled"
    ERROR = "error", "engine error"
    REFUSED = "refused"
    GAVE_WAY = "gave_way", "gave way"
    CANCELLED = "cancelled"
    DEADLINE = "deadline", "deadline passed"


class MinerStatus(models.TextChoices):
    """What a miner says it is doing."""

    IDLE = "idle"
    BUSY = "busy"
    OFFLINE = "offline"
    DRAINING = "draining"
    PAUSED = "paused"


class Trust(models.IntegerChoices):
    """How far the platform trusts a miner; jobs name the least they demand."""

    BANNED = -2, "banned"
    SUSPECT = -1, "suspect"
    PROBATION = 0, "probation"
    VERIFIED = 1, "verified"
    TRUSTED = 2, "trusted"


class ErrorCode(models.TextChoices):
    """Why a job ended without an answer."""

    NONE = "", "none"
    ENGINE_ERROR = "ENGINE_ERROR", "every attempt failed"
    LEASE_EXPIRED = "LEASE_EXPIRED", "miners went away"
    DEADLINE = "DEADLINE", "no answer before the deadline"
    CANCELLED = "CANCELLED", "cancelled"
