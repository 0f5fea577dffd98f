"""What visitors leave: thumbs, contact details, stars."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel, TenantQuerySet
from chats.choices import Verdict
from chats.models.conversations import ChatLog, Conversation


class Feedback(TenantModel):
    """A visitor's thumb up or down under one answer."""

    message = models.OneToOneField(ChatLog, on_delete=models.CASCADE, related_name="feedback")
    verdict = models.CharField(_("verdict"), max_length=8, choices=Verdict.choices)
    reason = models.CharField(_("reason"), max_length=1000, blank=True)
    created_at = models.DateTimeField(_("given"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    objects = TenantQuerySet["Feedback"].as_manager()

    class Meta:
        ordering = ["-id"]
        verbose_name_plural = _("feedback")
        constraints = [
            models.CheckConstraint(name="feedback_verdict_is_known", condition=Q(verdict__in=Verdict.values))
        ]

    def __str__(self) -> str:
        return str(self.get_verdict_display())


class Lead(TenantModel):
    """Contact details that a visitor left."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="leads")
    name = models.CharField(_("name"), max_length=150, blank=True)
    email = models.EmailField(_("e-mail"), blank=True)
    phone = models.CharField(_("phone"), max_length=40, blank=True)
    note = models.TextField(_("note"), max_length=2000, blank=True)
    created_at = models.DateTimeField(_("left"), default=timezone.now, editable=False)

    objects = TenantQuerySet["Lead"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            models.CheckConstraint(name="lead_can_be_reached_by_mail_or_phone", condition=~Q(email="") | ~Q(phone=""))
        ]

    def __str__(self) -> str:
        return self.name or self.email or self.phone


class Rating(TenantModel):
    """How satisfied a visitor was with the whole conversation, 1 to 5."""

    conversation = models.OneToOneField(Conversation, on_delete=models.CASCADE, related_name="rating")
    score = models.PositiveSmallIntegerField(_("score"))
    comment = models.CharField(_("comment"), max_length=1000, blank=True)
    created_at = models.DateTimeField(_("given"), default=timezone.now, editable=False)
    updated_at = models.DateTimeField(_("changed"), default=timezone.now, editable=False)

    objects = TenantQuerySet["Rating"].as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [models.CheckConstraint(name="rating_is_one_to_five", condition=Q(score__gte=1, score__lte=5))]

    def __str__(self) -> str:
        return f"{self.score}/5"
