"""What the network remembers: miners, jobs, every attempt at a job, and samples of its own state."""

from __future__ import annotations

import uuid
from datetime import datetime, timedelta
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone

from miners.choices import (
    LIVE_STATES,
    AttemptOutcome,
    ErrorCode,
    JobKind,
    JobPhase,
    JobState,
    Lane,
    MinerStatus,
    Trust,
)
from miners.limits import MINER_OFFLINE
from miners.querysets import AttemptQuerySet, EnrolmentTokenQuerySet, JobQuerySet, MinerQuerySet


def all_lanes() -> list[int]:
    return [lane.value for lane in Lane]


class EnrolmentToken(models.Model):
    """A secret that lets machines register as miners, made by staff, shown once."""

    name = models.CharField(max_length=100, help_text="Whose machines these are, or where they stand.")
    prefix = models.CharField(max_length=16, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    trust = models.SmallIntegerField(
        choices=Trust.choices,
        default=Trust.PROBATION,
        help_text="What a miner starts with that registers with this token.",
    )
    max_uses = models.PositiveIntegerField(default=1, help_text="How many miners may register with it.")
    uses = models.PositiveIntegerField(default=0, editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        "accounts.User", models.SET_NULL, null=True, blank=True, editable=False, related_name="+"
    )
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = EnrolmentTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return self.name

    def is_usable(self, now: datetime) -> bool:
        in_time = self.expires_at is None or self.expires_at > now
        return self.revoked_at is None and in_time and self.uses < self.max_uses


class Miner(models.Model):
    """A machine that runs `gpu_miner`."""

    name = models.CharField(max_length=100, unique=True)
    key_prefix = models.CharField(max_length=16, unique=True, editable=False)
    key_digest = models.CharField(max_length=64, editable=False)
    enrolment_token = models.ForeignKey(EnrolmentToken, models.SET_NULL, null=True, blank=True, related_name="miners")
    trust = models.SmallIntegerField(choices=Trust.choices, default=Trust.PROBATION)
    trust_reason = models.CharField(max_length=200, blank=True)
    trust_changed_at = models.DateTimeField(default=timezone.now)
    status = models.CharField(max_length=10, choices=MinerStatus.choices, default=MinerStatus.OFFLINE)
    drain_requested = models.BooleanField(default=False, help_text="Finish what runs, take nothing new.")
    pause_requested = models.BooleanField(
        default=False,
        db_default=False,
        help_text="Finish customers' answers, hand idle jobs back, take nothing until told to go on.",
    )
    lanes = ArrayField(
        models.SmallIntegerField(choices=Lane.choices),
        default=all_lanes,
        db_default=[Lane.CHAT, Lane.API, Lane.IDLE],
        help_text="The kinds of jobs that its owner lets it take.",
    )
    ip_address = models.CharField(max_length=45, blank=True)
    agent = models.CharField(
        max_length=100, blank=True, help_text="The program; empty for a miner of the first protocol."
    )
    instance = models.CharField(max_length=64, blank=True)
    gpu_name = models.CharField(max_length=100, blank=True)
    gpu_memory_mb = models.PositiveIntegerField(default=0)
    gpus = models.JSONField(default=list, blank=True)
    gpu_stats = models.JSONField(
        default=dict, blank=True, help_text="Memory used in MB, utilization in %, temperature in °C."
    )
    bench = models.JSONField(default=dict, blank=True)
    served_models = models.JSONField(default=list, blank=True, help_text="What it serves, as it registered it.")
    model_ids = ArrayField(models.CharField(max_length=200), default=list, blank=True)
    features = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    max_context = models.PositiveIntegerField(default=4096)
    slots = models.PositiveSmallIntegerField(default=1)
    max_slots = models.PositiveSmallIntegerField(
        null=True, blank=True, help_text="Never give it more jobs at once than this."
    )
    config_pending = models.BooleanField(
        default=False, editable=False, help_text="Its next heartbeat gets the new limits."
    )
    slots_free = models.PositiveSmallIntegerField(default=1)
    job_count = models.PositiveBigIntegerField(default=0)
    total_tokens_generated = models.PositiveBigIntegerField(default=0)
    fault_count = models.PositiveBigIntegerField(default=0)
    forgery_count = models.PositiveIntegerField(default=0)
    canaries_passed = models.PositiveIntegerField(default=0)
    canaries_failed = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_active = models.DateTimeField(null=True, blank=True)

    objects = MinerQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["last_active"], name="miner_by_last_active")]

    def __str__(self) -> str:
        return self.name

    @property
    def is_first_protocol(self) -> bool:
        """A miner that neither heartbeats nor streams: fetching a job is its only acknowledgement."""
        return not self.agent

    def is_online(self, now: datetime) -> bool:
        return self.last_active is not None and now - self.last_active < MINER_OFFLINE


class Job(models.Model):
    """One unit of generation asked of the network."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    business = models.ForeignKey("accounts.Business", models.CASCADE, null=True, blank=True, related_name="+")
    kind = models.CharField(max_length=10, choices=JobKind.choices)
    lane = models.SmallIntegerField(choices=Lane.choices)
    state = models.CharField(max_length=10, choices=JobState.choices, default=JobState.QUEUED)
    phase = models.CharField(max_length=10, choices=JobPhase.choices, default=JobPhase.NONE, blank=True)

    messages = models.JSONField(default=list)
    params = models.JSONField(default=dict)
    tools = models.JSONField(default=list)
    tool_choice = models.JSONField(default=str)
    stream = models.BooleanField(default=True)
    model = models.CharField(max_length=200, blank=True, help_text="Empty: any.")
    features = ArrayField(models.CharField(max_length=50), default=list, blank=True)
    min_trust = models.SmallIntegerField(choices=Trust.choices, default=Trust.VERIFIED)
    context_tokens = models.PositiveIntegerField(default=0, help_text="Estimated.")
    max_tokens = models.PositiveIntegerField(default=500)
    topic = models.CharField(max_length=100, blank=True, help_text="Where its events are published.")
    affinity_key = models.CharField(max_length=100, blank=True)
    affinity_miner = models.ForeignKey(
        Miner, models.SET_NULL, null=True, blank=True, related_name="+", db_constraint=False
    )
    target_miner = models.ForeignKey(Miner, models.CASCADE, null=True, blank=True, related_name="+")
    prefix_key = models.CharField(max_length=100, blank=True)

    virtual_start = models.BigIntegerField(
        default=0, help_text="Weighted tokens its tenant had been served when it was submitted."
    )
    fence = models.BigIntegerField(null=True, blank=True)
    attempt_count = models.PositiveSmallIntegerField(default=0)
    miner = models.ForeignKey(Miner, models.SET_NULL, null=True, blank=True, related_name="jobs")
    lease_until = models.DateTimeField(null=True, blank=True)
    progress_at = models.DateTimeField(null=True, blank=True)
    deadline = models.DateTimeField()
    faults = models.PositiveSmallIntegerField(default=0)
    fault_fence = models.BigIntegerField(
        null=True, blank=True, help_text="The attempt that the last fault was charged for."
    )
    tried = ArrayField(models.BigIntegerField(), default=list, blank=True)
    resume_text = models.TextField(blank=True)

    output = models.TextField(blank=True)
    tool_calls = models.JSONField(null=True, blank=True)
    finish_reason = models.CharField(max_length=20, blank=True)
    prompt_tokens = models.PositiveIntegerField(default=0)
    tokens_generated = models.PositiveIntegerField(default=0)
    error_code = models.CharField(max_length=30, choices=ErrorCode.choices, blank=True)
    error_message = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    offered_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    first_token_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    objects = JobQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [
            models.Index(
                fields=["lane", "virtual_start", "created_at"],
                name="job_claim_order",
                condition=Q(state=JobState.QUEUED),
            ),
            models.Index(
                fields=["lease_until"], name="job_lease", condition=Q(state__in=[JobState.OFFERED, JobState.RUNNING])
            ),
            models.Index(fields=["deadline"], name="job_live_deadline", condition=Q(state__in=list(LIVE_STATES))),
            models.Index(
                fields=["miner"], name="job_live_by_miner", condition=Q(state__in=[JobState.OFFERED, JobState.RUNNING])
            ),
            models.Index(fields=["affinity_key", "-created_at"], name="job_affinity", condition=~Q(affinity_key="")),
            models.Index(fields=["business", "-created_at"], name="job_by_business"),
            models.Index(fields=["-created_at"], name="job_by_age"),
        ]
        constraints: ClassVar = [
            models.CheckConstraint(
                name="a_job_in_a_miners_hands_has_a_fence_and_a_lease",
                condition=~Q(state__in=[JobState.OFFERED, JobState.RUNNING])
                | Q(fence__isnull=False, miner__isnull=False, lease_until__isnull=False),
            ),
            models.CheckConstraint(
                name="a_job_is_finished_exactly_when_its_state_is_terminal",
                condition=Q(state__in=list(LIVE_STATES), finished_at__isnull=True)
                | (~Q(state__in=list(LIVE_STATES)) & Q(finished_at__isnull=False)),
            ),
            models.CheckConstraint(name="a_jobs_state_is_known", condition=Q(state__in=JobState.values)),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {str(self.id)[:8]}"

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_STATES

    @property
    def processing_time(self) -> timedelta | None:
        if self.finished_at is None or self.started_at is None:
            return None
        return self.finished_at - self.started_at


class Attempt(models.Model):
    """One offer of a job to a miner; the fence says which offer a later call speaks for."""

    fence = models.BigIntegerField(primary_key=True)
    job = models.ForeignKey(Job, models.CASCADE, related_name="attempts")
    business = models.ForeignKey("accounts.Business", models.CASCADE, null=True, blank=True, related_name="+")
    miner = models.ForeignKey(Miner, models.SET_NULL, null=True, related_name="attempts")
    number = models.PositiveSmallIntegerField()
    model = models.CharField(max_length=200, blank=True)
    outcome = models.CharField(max_length=20, choices=AttemptOutcome.choices, default=AttemptOutcome.LIVE, blank=True)
    is_fault = models.BooleanField(default=False, help_text="Charged to the job.")
    is_blamed = models.BooleanField(default=False, help_text="Charged to the miner as well.")
    reason = models.CharField(max_length=500, blank=True)
    remark = models.CharField(
        max_length=300, blank=True, default="", db_default="", help_text="What the platform did not believe, and why."
    )
    model_digest = models.CharField(
        max_length=200, blank=True, default="", db_default="", help_text="Of the model that wrote the accepted answer."
    )
    tokens_reported = models.PositiveIntegerField(default=0)
    timing = models.JSONField(default=dict, blank=True)
    offered_at = models.DateTimeField()
    acked_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = AttemptQuerySet.as_manager()

    class Meta:
        indexes: ClassVar = [models.Index(fields=["miner", "-offered_at"], name="attempt_by_miner")]
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["job"],
                condition=Q(outcome=AttemptOutcome.ACCEPTED),
                name="at_most_one_accepted_attempt_per_job",
            ),
        ]

    def __str__(self) -> str:
        return f"attempt {self.number}"


class Canary(models.Model):
    """A question whose answer is known, asked of miners to see whether they do the work."""

    question = models.TextField(unique=True)
    facts = models.TextField(help_text="What the answer can be found in.")
    expected = models.CharField(max_length=200, help_text="The answer must contain this, whatever its case.")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        verbose_name_plural = "canaries"

    def __str__(self) -> str:
        return self.question[:60]


class CanaryTrial(models.Model):
    """One canary given to one miner."""

    job = models.OneToOneField(Job, models.CASCADE, primary_key=True, related_name="canary_trial")
    canary = models.ForeignKey(Canary, models.CASCADE, related_name="trials")
    miner = models.ForeignKey(Miner, models.CASCADE, related_name="canary_trials")
    passed = models.BooleanField(null=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    def __str__(self) -> str:
        return f"{self.canary} on {self.miner}"


class NetworkSample(models.Model):
    """The network's state at one moment, kept a day for the dashboard's charts."""

    at = models.DateTimeField(primary_key=True)
    online = models.PositiveIntegerField()
    idle = models.PositiveIntegerField()
    busy = models.PositiveIntegerField()
    queued_chat = models.PositiveIntegerField()
    queued_api = models.PositiveIntegerField()
    queued_idle = models.PositiveIntegerField()
    running = models.PositiveIntegerField()
    tokens_per_second = models.FloatField()
    start_p50_ms = models.FloatField(null=True)
    start_p95_ms = models.FloatField(null=True)
    first_token_p50_ms = models.FloatField(null=True)
    first_token_p95_ms = models.FloatField(null=True)

    def __str__(self) -> str:
        return self.at.isoformat()
