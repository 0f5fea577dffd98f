"""How a bot answers, and the receipt of each answer."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import DetachedTenantModel
from knowledge import querysets
from knowledge.choices import Fusion, Outcome, ReceiptKind, VersionState
from knowledge.models.chunks import EmbeddingVersion


class ModelConfigVersion(DetachedTenantModel):
    """One version of how a bot retrieves and answers; it becomes active when its test sets have passed."""

    bot_id = models.BigIntegerField(_("bot"))
    number = models.PositiveIntegerField(_("version"))
    state = models.CharField(_("state"), max_length=10, choices=VersionState.choices, default=VersionState.DRAFT)
    provider = models.CharField(_("answered by"), max_length=32, default="network")
    model = models.CharField(_("model"), max_length=200, blank=True)
    settings = models.JSONField(_("settings"), default=dict, blank=True)
    retrieval_k = models.PositiveIntegerField(
        _("passages"), default=6, validators=[MinValueValidator(1), MaxValueValidator(20)]
    )
    threshold = models.FloatField(
        _("evidence needed"),
        null=True,
        blank=True,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_("Empty: as calibrated."),
    )
    fusion = models.CharField(_("fusion"), max_length=7, choices=Fusion.choices, default=Fusion.RRF)
    rerank = models.BooleanField(
        _("rerank on the network"),
        default=False,
        help_text=_(
            "A model of the network reads each passage with the question and puts the best first. Adds up to 0.8 "
            "seconds; where no miner serves such a model, nothing changes."
        ),
    )
    refusal_text = models.CharField(
        _("when it does not know"),
        max_length=1000,
        blank=True,
        help_text=_(
            "Said in place of an answer, with the offer of a person. Empty: our words, in the visitor's language."
        ),
    )
    refusal_texts = models.JSONField(_("in other languages"), default=dict, blank=True)
    only_with_evidence = models.BooleanField(
        _("no evidence, no answer"),
        default=True,
        help_text=_("Ask no model where nothing was found that supports an answer."),
    )
    note = models.CharField(_("what changed"), max_length=500, blank=True)
    created_by_id = models.BigIntegerField(null=True, blank=True, editable=False)
    created_by_label = models.CharField(_("made by"), max_length=255, blank=True, editable=False)
    created_at = models.DateTimeField(_("made"), default=timezone.now, editable=False)
    activated_at = models.DateTimeField(_("in use since"), null=True, blank=True, editable=False)

    objects = querysets.ModelConfigVersionManager()

    class Meta:
        ordering = ["bot_id", "-number"]
        verbose_name = _("answer settings")
        verbose_name_plural = _("answer settings")
        constraints = [
            models.UniqueConstraint(
                fields=["business_id", "bot_id", "number"], name="model_config_is_numbered_per_bot"
            ),
            models.UniqueConstraint(
                fields=["business_id", "bot_id"], condition=Q(state="active"), name="model_config_in_use_is_one_per_bot"
            ),
            models.CheckConstraint(name="model_config_state_is_known", condition=Q(state__in=VersionState.values)),
            models.CheckConstraint(name="model_config_fusion_is_known", condition=Q(fusion__in=Fusion.values)),
            models.CheckConstraint(
                name="model_config_takes_some_passages", condition=Q(retrieval_k__gte=1, retrieval_k__lte=20)
            ),
            models.CheckConstraint(
                name="model_config_threshold_is_a_share",
                condition=Q(threshold__isnull=True) | Q(threshold__gte=0, threshold__lte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number}"


class RetrievalLog(DetachedTenantModel):
    """The receipt of one answer: what was asked, what was found, by which model and miner it was written."""

    kind = models.CharField(_("asked by"), max_length=10, choices=ReceiptKind.choices, default=ReceiptKind.CHAT)
    outcome = models.CharField(_("outcome"), max_length=10, choices=Outcome.choices, default=Outcome.ANSWERED)
    bot_id = models.BigIntegerField(_("bot"), null=True, blank=True)
    conversation_id = models.UUIDField(_("conversation"), null=True, blank=True)
    message_id = models.BigIntegerField(_("message"), null=True, blank=True)
    job_id = models.UUIDField(_("job"), null=True, blank=True)
    query = models.TextField(_("question"))
    rewritten_query = models.TextField(_("searched for"), blank=True)
    language = models.CharField(_("language"), max_length=16, blank=True)
    chunk_ids = ArrayField(models.BigIntegerField(), verbose_name=_("chunks"), default=list, blank=True)
    scores = ArrayField(models.FloatField(), verbose_name=_("scores"), default=list, blank=True)
    passages = models.JSONField(_("passages"), default=list, blank=True)
    fusion = models.CharField(_("fusion"), max_length=7, choices=Fusion.choices, default=Fusion.RRF)
    threshold = models.FloatField(_("evidence needed"), null=True, blank=True)
    evidence = models.FloatField(_("evidence found"), null=True, blank=True)
    retrieval_k = models.PositiveIntegerField(_("passages wanted"), default=0)
    reranked = models.BooleanField(_("reranked"), default=False)
    embedding_version = models.ForeignKey(
        EmbeddingVersion,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("embedded by"),
    )
    model_config = models.ForeignKey(
        ModelConfigVersion,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("settings"),
    )
    model = models.CharField(_("model"), max_length=200, blank=True)
    miner_id = models.BigIntegerField(null=True, blank=True)
    miner_name = models.CharField(_("miner"), max_length=200, blank=True)
    prompt_hash = models.CharField(_("fingerprint of the prompt"), max_length=64, blank=True)
    citations = models.JSONField(_("citations"), default=list, blank=True)
    timings = models.JSONField(_("timings"), default=dict, blank=True)
    answered = models.BooleanField(_("answered"), default=True)
    created_at = models.DateTimeField(_("asked"), default=timezone.now, editable=False)

    objects = querysets.RetrievalLogManager()

    class Meta:
        ordering = ["-created_at", "-id"]
        verbose_name = _("answer receipt")
        constraints = [
            models.CheckConstraint(name="receipt_kind_is_known", condition=Q(kind__in=ReceiptKind.values)),
            models.CheckConstraint(name="receipt_outcome_is_known", condition=Q(outcome__in=Outcome.values)),
        ]
        indexes = [
            models.Index(fields=["business_id", "-created_at"], name="receipt_of_a_business_by_time"),
            models.Index(fields=["business_id", "conversation_id"], name="receipt_of_a_conversation"),
            models.Index(fields=["business_id", "job_id"], name="receipt_of_a_job"),
        ]

    def __str__(self) -> str:
        return self.query[:60]
