"""What a business demands for its visitors' safety and its own, what was masked, what was refused, who is kept out."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel
from chats import querysets
from chats.choices import GuardAction, GuardKind, OffTopic, PersonalDataTrust
from chats.models.bots import Bot
from chats.models.conversations import Conversation
from mia.lib.models import TimestampedModel


class SafetyPolicy(TenantModel, TimestampedModel):
    """A business's rules for all its bots, or, in their place, those for one bot."""

    bot = models.ForeignKey(
        Bot,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="safety_policies",
        verbose_name=_("bot"),
        help_text=_("Empty: for every bot that has no rules of its own."),
    )
    personal_data_trust = models.SmallIntegerField(
        _("who may read personal data"),
        choices=PersonalDataTrust.choices,
        default=PersonalDataTrust.TRUSTED,
        help_text=_(
            "Where a miner with less trust may answer, addresses, numbers and names are replaced before it reads them."
        ),
    )
    names = ArrayField(
        models.CharField(max_length=100),
        verbose_name=_("names to hide"),
        default=list,
        blank=True,
        help_text=_("Of people or customers, separated by commas. The visitor's own is hidden anyway."),
    )
    phone_region = models.CharField(
        _("country of phone numbers"),
        max_length=2,
        blank=True,
        validators=[RegexValidator(r"^[A-Z]{2}$", _("Two capital letters, such as CH."))],
        help_text=_("For numbers without a +. Empty: that of the business's language."),
    )
    blocks_injection = models.BooleanField(
        _("refuse attacks on the instructions"),
        default=True,
        help_text=_("Messages that try to change the bot's instructions or to have them told."),
    )
    blocks_abuse = models.BooleanField(_("refuse abuse"), default=True)
    off_topic = models.CharField(_("other topics"), max_length=8, choices=OffTopic.choices, default=OffTopic.BALANCED)
    topics = models.TextField(
        _("its topics"),
        max_length=2000,
        blank=True,
        help_text=_("What the bot is there for, in your words. What it was taught counts anyway."),
    )
    guarded_texts = ArrayField(
        models.CharField(max_length=300),
        verbose_name=_("never to be told"),
        default=list,
        blank=True,
        help_text=_("Words or phrases, separated by commas. An answer that holds one is replaced."),
    )
    refusal_text = models.CharField(
        _("words of refusal"), max_length=500, blank=True, help_text=_("Empty: ours, in the visitor's language.")
    )

    session_per_minute = models.PositiveIntegerField(
        _("messages a minute"), default=60, validators=[MinValueValidator(1), MaxValueValidator(600)]
    )
    session_per_day = models.PositiveIntegerField(
        _("messages a day"), default=300, validators=[MinValueValidator(1), MaxValueValidator(100_000)]
    )
    address_per_minute = models.PositiveIntegerField(
        _("messages a minute from one address"), default=120, validators=[MinValueValidator(1), MaxValueValidator(6000)]
    )
    daily_messages = models.PositiveIntegerField(
        _("messages a day in all"),
        null=True,
        blank=True,
        validators=[MinValueValidator(1)],
        help_text=_("Of all visitors together, in the business's own day. Empty: as many as come."),
    )
    strikes = models.PositiveSmallIntegerField(
        _("strikes"),
        default=5,
        validators=[MinValueValidator(1), MaxValueValidator(100)],
        help_text=_("Refused messages within an hour after which a visitor is kept out."),
    )
    block_minutes = models.PositiveIntegerField(
        _("kept out for (minutes)"), default=60, validators=[MinValueValidator(1), MaxValueValidator(43_200)]
    )

    objects = querysets.SafetyPolicyManager()

    class Meta:
        ordering = ["bot", "id"]
        verbose_name = _("safety rules")
        verbose_name_plural = _("safety rules")
        constraints = [
            models.UniqueConstraint(
                fields=["business"], condition=Q(bot=None), name="safety_policy_is_one_per_business"
            ),
            models.UniqueConstraint(
                fields=["business", "bot"], condition=Q(bot__isnull=False), name="safety_policy_is_one_per_bot"
            ),
            models.CheckConstraint(
                name="safety_policy_trust_is_known", condition=Q(personal_data_trust__in=PersonalDataTrust.values)
            ),
            models.CheckConstraint(name="safety_policy_off_topic_is_known", condition=Q(off_topic__in=OffTopic.values)),
        ]

    def __str__(self) -> str:
        return str(self.bot) if self.bot_id else str(_("All bots"))


class MaskedValue(TenantModel):
    """What a placeholder in a conversation's jobs stands for."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="masked_values")
    placeholder = models.CharField(_("placeholder"), max_length=16)
    value = models.TextField(_("value"), max_length=400)
    created_at = models.DateTimeField(_("masked"), default=timezone.now, editable=False)

    objects = querysets.MaskedValueManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "conversation", "placeholder"], name="masked_value_is_one_per_placeholder"
            ),
        ]

    def __str__(self) -> str:
        return self.placeholder


class GuardrailEvent(TenantModel):
    """A message or an answer that the platform did not let pass."""

    conversation = models.ForeignKey(
        Conversation,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="guardrail_events",
        verbose_name=_("conversation"),
        help_text=_("None for what a program asked through /v1."),
    )
    job_id = models.UUIDField(_("job"), null=True, blank=True, editable=False)
    kind = models.CharField(_("what"), max_length=10, choices=GuardKind.choices)
    action = models.CharField(_("done"), max_length=8, choices=GuardAction.choices)
    rule = models.CharField(_("by rule"), max_length=40, blank=True)
    excerpt = models.CharField(_("words"), max_length=200, blank=True)
    at = models.DateTimeField(_("time"), default=timezone.now, editable=False)

    objects = querysets.GuardrailEventManager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("refusal")
        verbose_name_plural = _("refused and stopped")
        constraints = [
            models.CheckConstraint(name="guardrail_event_kind_is_known", condition=Q(kind__in=GuardKind.values)),
            models.CheckConstraint(name="guardrail_event_action_is_known", condition=Q(action__in=GuardAction.values)),
        ]
        indexes = [models.Index(fields=["conversation", "-at"], name="guardrail_event_by_talk")]

    def __str__(self) -> str:
        return str(self.get_kind_display())


class VisitorBlock(TenantModel):
    """A visitor who is kept out: by session, and by the hash of an address where one was known."""

    conversation = models.ForeignKey(
        Conversation, on_delete=models.CASCADE, related_name="blocks", verbose_name=_("conversation")
    )
    address_hash = models.CharField(_("address"), max_length=32, blank=True, editable=False)
    reason = models.CharField(_("reason"), max_length=300)
    blocked_by = models.CharField(_("by"), max_length=150, blank=True)
    created_at = models.DateTimeField(_("since"), default=timezone.now, editable=False)
    until = models.DateTimeField(_("until"), null=True, blank=True, help_text=_("Empty: until it is lifted."))
    lifted_at = models.DateTimeField(_("lifted"), null=True, blank=True, editable=False)

    objects = querysets.VisitorBlockManager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("blocked visitor")
        verbose_name_plural = _("blocked visitors")
        indexes = [
            models.Index(fields=["business", "address_hash"], name="visitor_block_by_address"),
            models.Index(fields=["conversation"], name="visitor_block_by_talk"),
        ]

    def __str__(self) -> str:
        return self.reason
