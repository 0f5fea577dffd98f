"""Who answers for a business."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel
from chats import querysets
from chats.choices import Position
from chats.limits import MAX_ANSWER_TOKENS, MAX_FACTS_CHARS
from mia.lib.models import TimestampedModel


class Bot(TenantModel, TimestampedModel):
    """Who answers for a business: its persona, its facts, its limits and its look."""

    name = models.CharField(_("name"), max_length=80)
    role = models.CharField(
        _("role"), max_length=200, blank=True, help_text=_("Such as: support agent of an online shop for bicycles.")
    )
    tone = models.CharField(_("tone"), max_length=200, blank=True, help_text=_("Such as: warm, brief, no jargon."))
    business_description = models.TextField(
        _("facts"),
        max_length=MAX_FACTS_CHARS,
        blank=True,
        help_text=_("Everything the bot may tell: what you offer, prices, hours, policies. It knows nothing else."),
    )
    instructions = models.TextField(
        _("instructions"),
        max_length=8000,
        blank=True,
        help_text=_("What the bot should do, and must never do. Put what it may say word for word in quotation marks."),
    )
    first_message = models.CharField(_("first message"), max_length=1000, blank=True)
    confirmation_message = models.CharField(
        _("confirmation"), max_length=1000, blank=True, help_text=_("Shown when a visitor has left contact details.")
    )
    languages = ArrayField(
        models.CharField(max_length=16),
        verbose_name=_("languages"),
        default=list,
        blank=True,
        help_text=_("Such as en, fr, de. Empty: whatever the visitor writes in."),
    )

    model = models.CharField(_("model"), max_length=200, blank=True, help_text=_("Empty: any model of the network."))
    max_tokens = models.PositiveIntegerField(
        _("longest answer"),
        default=512,
        validators=[MinValueValidator(1), MaxValueValidator(MAX_ANSWER_TOKENS)],
        help_text=_("In tokens; an English word has about 1.3."),
    )
    temperature = models.FloatField(
        _("temperature"), default=0.3, validators=[MinValueValidator(0.0), MaxValueValidator(2.0)]
    )
    max_context_tokens = models.PositiveIntegerField(
        _("context"),
        default=8192,
        validators=[MinValueValidator(512), MaxValueValidator(1_000_000)],
        help_text=_("Tokens that the model reads and writes at most; older messages are left out to fit."),
    )

    title = models.CharField(_("title"), max_length=80, blank=True)
    color = models.CharField(
        _("colour"),
        max_length=7,
        default="#1f6feb",
        validators=[RegexValidator(r"^#[0-9a-fA-F]{6}$", _("Write it as #rrggbb."))],
    )
    position = models.CharField(_("corner"), max_length=5, choices=Position.choices, default=Position.RIGHT)

    widget_key = models.ForeignKey(
        "accounts.ApiKey",
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("only for widget key"),
        help_text=_("A publishable key named here reaches this bot and no other."),
    )
    is_default = models.BooleanField(_("default"), default=False, help_text=_("Answers when no bot is named."))
    is_active = models.BooleanField(_("active"), default=True)

    objects = querysets.BotManager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business"], condition=Q(is_default=True), name="bot_default_is_one_per_business"
            ),
            models.CheckConstraint(
                name="bot_answers_have_a_sane_length",
                condition=Q(max_tokens__gte=1, max_tokens__lte=MAX_ANSWER_TOKENS),
            ),
            models.CheckConstraint(
                name="bot_temperature_is_between_zero_and_two", condition=Q(temperature__gte=0, temperature__lte=2)
            ),
            models.CheckConstraint(name="bot_context_is_not_tiny", condition=Q(max_context_tokens__gte=512)),
            models.CheckConstraint(name="bot_position_is_known", condition=Q(position__in=Position.values)),
        ]

    def __str__(self) -> str:
        return self.name
