"""Where a business is told what happened, what it was told, and how that went."""

from __future__ import annotations

import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel, TenantQuerySet
from chats.choices import DeliveryState
from mia.lib.models import TimestampedModel

EXCERPT_CHARS = 1_000


class WebhookEndpoint(TenantModel, TimestampedModel):
    """An address of a business that is sent events."""

    name = models.CharField(_("name"), max_length=80)
    url = models.URLField(_("address"), max_length=1000, help_text=_("https, and reachable from the internet."))
    events = ArrayField(models.CharField(max_length=40), verbose_name=_("events"), default=list)
    sealed_secret = models.TextField(editable=False)
    sealed_previous_secret = models.TextField(blank=True, editable=False)
    previous_secret_until = models.DateTimeField(
        _("the secret before signs until"), null=True, blank=True, editable=False
    )
    is_active = models.BooleanField(_("active"), default=True)
    failing_since = models.DateTimeField(_("failing since"), null=True, blank=True, editable=False)
    disabled_reason = models.CharField(_("why it was switched off"), max_length=200, blank=True, editable=False)

    objects = TenantQuerySet["WebhookEndpoint"].as_manager()

    class Meta:
        ordering = ["name", "id"]
        verbose_name = _("webhook")

    def __str__(self) -> str:
        return self.name


class WebhookMessage(TenantModel):
    """One event as it is told, word for word the same at every try and to every endpoint."""

    public_id = models.UUIDField(_("id"), default=uuid.uuid4, editable=False)
    event = models.CharField(_("event"), max_length=40)
    data = models.JSONField(_("data"), default=dict)
    created_at = models.DateTimeField(_("happened"), default=timezone.now)

    objects = TenantQuerySet["WebhookMessage"].as_manager()

    class Meta:
        ordering = ["-id"]
        indexes = [models.Index(fields=["created_at"], name="webhook_message_by_age")]

    def __str__(self) -> str:
        return self.event


class WebhookDelivery(TenantModel):
    """One message on its way to one endpoint: the outbox, and the log of how it went."""

    message = models.ForeignKey(WebhookMessage, on_delete=models.CASCADE, related_name="deliveries")
    endpoint = models.ForeignKey(
        WebhookEndpoint, on_delete=models.CASCADE, related_name="deliveries", verbose_name=_("webhook")
    )
    state = models.CharField(_("state"), max_length=9, choices=DeliveryState.choices, default=DeliveryState.PENDING)
    attempts = models.PositiveSmallIntegerField(_("tries"), default=0)
    next_attempt_at = models.DateTimeField(_("next try"), default=timezone.now)
    http_status = models.PositiveSmallIntegerField(_("status"), null=True, blank=True)
    latency_ms = models.PositiveIntegerField(_("took (ms)"), null=True, blank=True)
    excerpt = models.CharField(_("what it answered"), max_length=EXCERPT_CHARS, blank=True)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)

    objects = TenantQuerySet["WebhookDelivery"].as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("webhook delivery")
        verbose_name_plural = _("webhook deliveries")
        constraints = [
            models.UniqueConstraint(
                fields=["business", "message", "endpoint"], name="webhook_delivery_is_one_per_message_and_endpoint"
            ),
            models.CheckConstraint(name="webhook_delivery_state_is_known", condition=Q(state__in=DeliveryState.values)),
        ]
        indexes = [
            models.Index(
                fields=["next_attempt_at"], name="webhook_delivery_due", condition=Q(state=DeliveryState.PENDING)
            )
        ]

    def __str__(self) -> str:
        return f"{self.message} → {self.endpoint}"
