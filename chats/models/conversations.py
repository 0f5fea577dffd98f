"""Conversations, what was said in them, and who is in them."""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel
from chats import querysets
from chats.choices import ChannelKind, HandoffReason, Mode, Owner, Role, Status
from chats.models.bots import Bot

SNIPPET_CHARS = 200


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
    snoozed_until = models.DateTimeField(
        _("asleep until"), null=True, blank=True, help_text=_("Or until the visitor writes again.")
    )
    channel = models.CharField(
        _("channel"), max_length=8, choices=ChannelKind.choices, default=ChannelKind.WIDGET, db_default="widget"
    )
    address_hash = models.CharField(max_length=32, blank=True, default="", db_default="", editable=False)
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
            models.CheckConstraint(name="conversation_channel_is_known", condition=Q(channel__in=ChannelKind.values)),
        ]
        indexes = [
            models.Index(fields=["business", "-last_message_at"], name="conversation_by_last_message"),
            models.Index(fields=["business", "status", "-last_message_at"], name="conversation_by_status"),
        ]

    def __str__(self) -> str:
        return self.visitor_name or self.visitor_email or str(self.public_id)[:8]

    @property
    def owner(self) -> Owner:
        """Whose turn it is."""
        if self.mode == Mode.HUMAN:
            return Owner.HUMAN
        return {Status.WAITING: Owner.QUEUE, Status.RESOLVED: Owner.CLOSED}.get(Status(self.status), Owner.AI)

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
