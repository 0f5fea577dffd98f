"""Where else a bot can be written to, and what went through there, each message once."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts.tenancy import TenantModel
from chats import querysets
from chats.choices import ChannelKind, ChannelStatus, Delivery, Direction, MailSecurity
from chats.models.bots import Bot
from chats.models.conversations import ChatLog, Conversation
from mia.lib.models import TimestampedModel


class Channel(TenantModel, TimestampedModel):
    """A mailbox or a messenger account that a bot answers."""

    bot = models.ForeignKey(Bot, on_delete=models.CASCADE, related_name="channels", verbose_name=_("bot"))
    kind = models.CharField(_("kind"), max_length=8, choices=ChannelKind.choices)
    name = models.CharField(_("name"), max_length=80, help_text=_("What agents know it by."))
    is_active = models.BooleanField(_("active"), default=True)
    address = models.CharField(
        _("address"), max_length=254, blank=True, help_text=_("The mailbox's address, or the Telegram bot's name.")
    )
    imap_host = models.CharField(_("IMAP server"), max_length=253, blank=True)
    imap_port = models.PositiveIntegerField(_("IMAP port"), default=993)
    imap_security = models.CharField(
        _("IMAP encryption"), max_length=8, choices=MailSecurity.choices, default=MailSecurity.TLS
    )
    smtp_host = models.CharField(_("SMTP server"), max_length=253, blank=True)
    smtp_port = models.PositiveIntegerField(_("SMTP port"), default=465)
    smtp_security = models.CharField(
        _("SMTP encryption"), max_length=8, choices=MailSecurity.choices, default=MailSecurity.TLS
    )
    username = models.CharField(_("user name"), max_length=254, blank=True, help_text=_("Empty: the address."))
    encrypted_secret = models.TextField(_("password or token"), blank=True, editable=False)
    cursor = models.BigIntegerField(default=0, editable=False)
    cursor_epoch = models.BigIntegerField(default=0, editable=False)
    status = models.CharField(
        _("status"), max_length=7, choices=ChannelStatus.choices, default=ChannelStatus.NEW, editable=False
    )
    last_error = models.CharField(_("last error"), max_length=300, blank=True, editable=False)
    checked_at = models.DateTimeField(_("last looked at"), null=True, blank=True, editable=False)
    next_poll_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = querysets.ChannelManager()

    class Meta:
        ordering = ["name", "id"]
        constraints = [
            models.CheckConstraint(name="channel_kind_is_known", condition=Q(kind__in=["email", "telegram"])),
            models.UniqueConstraint(
                fields=["business", "kind", "address"],
                condition=~Q(address=""),
                name="channel_address_is_listed_once_in_its_business",
            ),
        ]

    def __str__(self) -> str:
        return self.name or self.address

    @property
    def login(self) -> str:
        return self.username or self.address


class ChannelMessage(TenantModel):
    """A message that came in, known by the id it came with, or one that has to go out."""

    channel = models.ForeignKey(Channel, on_delete=models.CASCADE, related_name="messages", verbose_name=_("channel"))
    conversation = models.ForeignKey(
        Conversation,
        on_delete=models.CASCADE,
        null=True,
        blank=True,
        related_name="channel_messages",
        verbose_name=_("conversation"),
    )
    chat_log = models.ForeignKey(
        ChatLog, on_delete=models.CASCADE, null=True, blank=True, related_name="+", verbose_name=_("message")
    )
    direction = models.CharField(_("direction"), max_length=3, choices=Direction.choices)
    external_id = models.CharField(_("id there"), max_length=300, blank=True)
    address = models.CharField(_("address"), max_length=254, blank=True)
    subject = models.CharField(_("subject"), max_length=300, blank=True)
    text = models.TextField(_("text"), blank=True)
    delivery = models.CharField(_("delivery"), max_length=7, choices=Delivery.choices, default=Delivery.DONE)
    attempts = models.PositiveSmallIntegerField(_("attempts"), default=0)
    due_at = models.DateTimeField(_("next attempt"), null=True, blank=True)
    error = models.CharField(_("error"), max_length=300, blank=True)
    created_at = models.DateTimeField(_("time"), default=timezone.now, editable=False)

    objects = querysets.ChannelMessageManager()

    class Meta:
        ordering = ["-id"]
        verbose_name = _("delivery")
        verbose_name_plural = _("deliveries")
        constraints = [
            models.UniqueConstraint(
                fields=["business", "channel", "direction", "external_id"],
                condition=~Q(external_id=""),
                name="channel_message_comes_once",
            ),
            models.UniqueConstraint(
                fields=["business", "chat_log"],
                condition=Q(chat_log__isnull=False, direction="out"),
                name="channel_message_goes_out_once",
            ),
        ]
        indexes = [models.Index(fields=["due_at"], condition=Q(delivery="waiting"), name="channel_message_due")]

    def __str__(self) -> str:
        return self.subject or self.text[:60] or self.address
