"""The work of turning sources into chunks with embeddings."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import DetachedTenantModel
from knowledge import querysets
from knowledge.choices import LIVE_TRAINING, TrainingKind, TrainingStage, TrainingStatus


class TrainingJob(DetachedTenantModel):
    """One run over some sources of a bot; PostgreSQL knows how far it has come, and any worker can go on with it.

    `fence` rises with each worker that takes the job: what an earlier one still does to it changes nothing.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True)
    kind = models.CharField(_("kind"), max_length=7, choices=TrainingKind.choices, default=TrainingKind.TRAIN)
    status = models.CharField(_("status"), max_length=19, choices=TrainingStatus.choices, default=TrainingStatus.QUEUED)
    stage = models.CharField(_("stage"), max_length=9, choices=TrainingStage.choices, default=TrainingStage.WAITING)
    source_ids = ArrayField(models.UUIDField(), verbose_name=_("sources"), default=list, editable=False)
    finished_source_ids = ArrayField(models.UUIDField(), default=list, editable=False)
    failed_sources = models.PositiveIntegerField(_("failed"), default=0, editable=False)
    attempts = models.PositiveIntegerField(_("attempts"), default=0, editable=False)
    fence = models.PositiveBigIntegerField(default=0, editable=False)
    error = models.CharField(_("what went wrong"), max_length=500, blank=True)
    chunks_embedded = models.PositiveIntegerField(_("chunks embedded"), default=0, editable=False)
    requested_by = models.CharField(_("asked for by"), max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(_("queued"), default=timezone.now, editable=False)
    due_at = models.DateTimeField(
        default=timezone.now, editable=False, help_text="When it is handed to a worker again if none has taken it."
    )
    seen_at = models.DateTimeField(_("last sign of life"), null=True, blank=True, editable=False)
    started_at = models.DateTimeField(_("started"), null=True, blank=True, editable=False)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True, editable=False)

    objects = querysets.TrainingJobManager()

    class Meta:
        ordering = ["-created_at", "id"]
        verbose_name = _("training job")
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "bot_id"],
                condition=Q(status__in=LIVE_TRAINING) & ~Q(kind="cleanup"),
                nulls_distinct=False,
                name="training_runs_once_at_a_time_per_bot",
            ),
            models.CheckConstraint(name="training_kind_is_known", condition=Q(kind__in=TrainingKind.values)),
            models.CheckConstraint(name="training_status_is_known", condition=Q(status__in=TrainingStatus.values)),
            models.CheckConstraint(name="training_stage_is_known", condition=Q(stage__in=TrainingStage.values)),
        ]
        indexes = [
            models.Index(fields=["business_id", "-created_at"], name="training_of_a_business_by_time"),
            models.Index(fields=["status", "seen_at"], condition=Q(status__in=LIVE_TRAINING), name="training_alive"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} {self.created_at:%Y-%m-%d %H:%M}"
