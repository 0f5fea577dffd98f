"""Channels in the admin: how each does, a button that tries it, and what went through."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.permissions import Right
from accounts.scoped_admin import TenantModelAdmin, column
from chats.admin_feedback import clipped, conversation_link
from chats.channels import services
from chats.channels.base import ChannelError
from chats.channels.forms import ChannelForm
from chats.choices import ChannelStatus, Delivery
from chats.models import Channel, ChannelMessage
from mia.lib import phrases

STATUS_COLOURS: Final = {
    ChannelStatus.NEW: "default",
    ChannelStatus.WORKS: "success",
    ChannelStatus.FAILING: "danger",
}
DELIVERY_COLOURS: Final = {
    Delivery.WAITING: "warning",
    Delivery.DONE: "success",
    Delivery.IGNORED: "default",
    Delivery.FAILED: "danger",
}


FIELDSETS: Final[Any] = [
    (None, {"fields": ["business", "bot", "kind", "name", "is_active"]}),
    (
        _("Account"),
        {
            "fields": ["address", "username", "new_secret"],
            "description": _(
                "For Telegram make a bot with @BotFather and enter its token; the fields for mail stay empty."
            ),
        },
    ),
    (
        _("Mail servers"),
        {
            "fields": [
                "imap_host",
                ("imap_port", "imap_security"),
                "smtp_host",
                ("smtp_port", "smtp_security"),
            ],
            "description": _("Your provider's help names them. What is in the mailbox already is left alone."),
        },
    ),
    (_("How it does"), {"fields": ["status", "last_error", "looked"]}),
]


@admin.register(Channel)
class ChannelAdmin(ActionsModelAdmin[Channel]):
    """Mailboxes and messenger accounts."""

    form = ChannelForm
    list_display = ["name", "kind", "bot", "business", "shown_status", "error", "looked", "is_active"]
    list_filter = [("kind", ChoicesDropdownFilter), ("status", ChoicesDropdownFilter), "bot", "business"]
    list_select_related = ["bot", "business"]
    search_fields = ["name", "address"]
    readonly_fields = ["status", "last_error", "looked"]
    change_form_template = "parts/change_form_with_actions.html"
    page_actions = ("try_it",)
    fieldsets = FIELDSETS
    empty_hint = _("Let a bot answer a mailbox or a Telegram account: add a channel, then press “Test it”.")

    @page_action(PageAction(_("Test it"), right=Right.MANAGE, icon="network_check", variant="primary"))
    def try_it(self, request: HttpRequest, channel: Channel, words: str) -> str:
        try:
            return services.check(channel, now=timezone.now())
        except ChannelError as error:
            messages.error(request, str(error))
            return str(_("Correct the account and test it again."))

    @column(description=_("status"), ordering="status", label=STATUS_COLOURS)
    def shown_status(self, channel: Channel) -> tuple[str, str]:
        return channel.status, channel.get_status_display()

    @column(description=_("last error"), ordering="last_error")
    def error(self, channel: Channel) -> str:
        return clipped(channel.last_error) or phrases.NOTHING

    @column(description=_("last looked at"), ordering="checked_at")
    def looked(self, channel: Channel) -> str:
        return phrases.ago(channel.checked_at, timezone.now()) if channel.checked_at else phrases.NOTHING


@admin.register(ChannelMessage)
class ChannelMessageAdmin(TenantModelAdmin[ChannelMessage]):
    """What went through channels; written by the platform only."""

    add_right = change_right = delete_right = None
    list_display = [
        "shown_direction",
        "words",
        "address",
        "channel",
        "talk",
        "shown_delivery",
        "error",
        "business",
        "when",
    ]
    list_filter = [
        ("direction", ChoicesDropdownFilter),
        ("delivery", ChoicesDropdownFilter),
        "channel",
        "business",
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["channel", "conversation", "business"]
    search_fields = ["address", "subject", "text"]
    fields = ["direction", "channel", "address", "subject", "text", "talk", "delivery", "error", "created_at"]
    readonly_fields = ["talk"]
    empty_hint = _("Messages that come in and go out by mail and Telegram are listed here.")

    @column(description=_("direction"), ordering="direction")
    def shown_direction(self, message: ChannelMessage) -> str:
        return message.get_direction_display()

    @column(description=_("words"))
    def words(self, message: ChannelMessage) -> str:
        return clipped(message.text or message.subject) or phrases.NOTHING

    @column(description=_("conversation"))
    def talk(self, message: ChannelMessage) -> SafeString | str:
        return conversation_link(message.conversation) if message.conversation else phrases.NOTHING

    @column(description=_("delivery"), ordering="delivery", label=DELIVERY_COLOURS)
    def shown_delivery(self, message: ChannelMessage) -> tuple[str, str]:
        return message.delivery, message.get_delivery_display()

    @column(description=_("when"), ordering="created_at")
    def when(self, message: ChannelMessage) -> str:
        return phrases.ago(message.created_at, timezone.now())
