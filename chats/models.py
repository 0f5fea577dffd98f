"""Bots, the conversations they hold, and what visitors leave in them."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel, TenantQuerySet
from chats import querysets
from chats.choices import HandoffReason, Mode, Position, Role, Status, Verdict
from chats.limits import MAX_ANSWER_TOKENS, MAX_FACTS_CHARS
from mia.lib.models import TimestampedModel

SNIPPET_CHARS = 200


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
        _("instructions"), max_length=8000, blank=True, help_text=_("What the bot should do, and must never do.")
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


class Conversation(TenantModel):
    """One visitor's talk with one bot and perhaps with people; the seed's session."""

    public_id = models.UUIDField(
        _("session id"),
        default=uuid.uuid4,
        unique=True,
        editable=False,
        help_text=_("What visitors' programs know it by."),
    )
    external_id = models.CharField(
        _("the business's own id"), max_length=64, blank=True, help_text=_("Given by the business's dashboard.")
    )
    bot = models.ForeignKey(Bot, on_delete=models.RESTRICT, related_name="conversations", verbose_name=_("bot"))
    mode = models.CharField(_("answered by"), max_length=5, choices=Mode.choices, default=Mode.AI)
    status = models.CharField(_("status"), max_length=8, choices=Status.choices, default=Status.OPEN)
    visitor_name = models.CharField(_("visitor"), max_length=150, blank=True)
    visitor_email = models.EmailField(_("visitor's e-mail"), blank=True)
    language = models.CharField(_("language"), max_length=16, blank=True)
    assignee = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("assigned to"),
    )
    handoff_reason = models.CharField(_("why a human"), max_length=8, choices=HandoffReason.choices, blank=True)
    handoff_requested_at = models.DateTimeField(_("human wanted since"), null=True, blank=True)
    snippet = models.CharField(_("last words"), max_length=SNIPPET_CHARS, blank=True)
    last_job_id = models.UUIDField(_("last job"), null=True, blank=True, editable=False)
    created_at = models.DateTimeField(_("started"), default=timezone.now, editable=False)
    last_message_at = models.DateTimeField(_("last message"), default=timezone.now)

    objects = querysets.ConversationManager()

    class Meta:
        ordering = ["-last_message_at", "-id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "external_id"],
                condition=~Q(external_id=""),
                name="conversation_external_id_is_unique_in_its_business",
            ),
            models.CheckConstraint(name="conversation_mode_is_known", condition=Q(mode__in=Mode.values)),
            models.CheckConstraint(name="conversation_status_is_known", condition=Q(status__in=Status.values)),
        ]
        indexes = [
            models.Index(fields=["business", "-last_message_at"], name="conversation_by_last_message"),
            models.Index(fields=["business", "status", "-last_message_at"], name="conversation_by_status"),
        ]

    def __str__(self) -> str:
        return self.visitor_name or self.visitor_email or str(self.public_id)[:8]

    @property
    def audit_label(self) -> str:
        """The trail can be altered by nobody, so it must not hold what a visitor may want erased."""
        return str(self.public_id)[:8]

    @property
    def topic(self) -> str:
        """Where this conversation's events are published."""
        return f"{querysets.TOPIC_NAME}:{self.public_id}"

    def touch(self, words: str, now: datetime) -> None:
        """Notes the last words in memory; the caller saves."""
        self.snippet = " ".join(words.split())[:SNIPPET_CHARS]
        self.last_message_at = now


class ChatLog(TenantModel):
    """One message of a conversation, whoever wrote it."""

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="chat_logs")
    role = models.CharField(_("role"), max_length=9, choices=Role.choices)
    message = models.TextField(_("message"), blank=True)
    timestamp = models.DateTimeField(_("time"), default=timezone.now)
    job = models.ForeignKey(
        "miners.Job", on_delete=models.SET_NULL, null=True, blank=True, related_name="+", verbose_name=_("job")
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.SET_NULL,
        null=True,
        blank=True,
        related_name="+",
        verbose_name=_("written by"),
    )
    author_name = models.CharField(_("name of the writer"), max_length=150, blank=True)
    prompt_tokens = models.PositiveIntegerField(_("tokens read"), default=0)
    tokens_generated = models.PositiveIntegerField(_("tokens written"), default=0)
    latency_ms = models.PositiveIntegerField(_("took (ms)"), null=True, blank=True)
    citations = models.JSONField(_("sources"), default=list, blank=True)
    tool_calls = models.JSONField(_("tool calls"), default=list, blank=True)
    tool_call_id = models.CharField(_("answers tool call"), max_length=100, blank=True)

    objects = querysets.ChatLogManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "job", "role"],
                condition=Q(role__in=["user", "assistant", "system"]),
                name="chat_log_is_one_question_and_one_answer_per_job",
            ),
            models.CheckConstraint(name="chat_log_role_is_known", condition=Q(role__in=Role.values)),
            models.CheckConstraint(
                name="chat_log_of_a_tool_names_its_call", condition=~Q(role="tool") | ~Q(tool_call_id="")
            ),
        ]
        indexes = [models.Index(fields=["conversation", "id"], name="chat_log_in_order")]

    def __str__(self) -> str:
        return f"{self.get_role_display()}: {self.message[:60]}"


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


class AgentSeat(TenantModel):
    """A live socket of an agent in a conversation; while one is fresh, humans answer.

    In the database and not in Redis or a process, so that a lost process or an emptied Redis gives no conversation
    away: a seat that is not renewed goes stale by itself.
    """

    conversation = models.ForeignKey(Conversation, on_delete=models.CASCADE, related_name="seats")
    socket_id = models.UUIDField(default=uuid.uuid4, editable=False)
    name = models.CharField(_("name"), max_length=150, blank=True)
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    objects = querysets.AgentSeatManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(fields=["business", "socket_id"], name="agent_seat_is_one_per_socket"),
        ]

    def __str__(self) -> str:
        return self.name or str(self.socket_id)


class IdempotencyRecord(TenantModel):
    """The first reply to a request that carried an Idempotency-Key; without the tokens in it, which are made anew."""

    principal = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    response = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    objects = querysets.IdempotencyManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "principal", "key"], name="idempotency_key_is_used_once_by_its_holder"
            )
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotency_by_age")]

    def __str__(self) -> str:
        return self.key
