"""The form of a channel: what a mailbox or a messenger account needs, and a secret that is never shown again."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from chats.channels.base import SEAL_PURPOSE
from chats.choices import ChannelKind
from chats.models import Channel
from mia.lib.sealing import seal

TOKEN: Final = re.compile(r"\d{3,20}:[A-Za-z0-9_-]{5,100}")
KINDS: Final = [(kind.value, kind.label) for kind in (ChannelKind.EMAIL, ChannelKind.TELEGRAM)]
MAIL_NEEDS: Final = ("address", "imap_host", "smtp_host")


class ChannelForm(forms.ModelForm[Channel]):
    """A channel."""

    kind = forms.ChoiceField(label=_("Kind"), choices=KINDS, widget=UnfoldAdminSelectWidget)
    new_secret = forms.CharField(
        label=_("Password or token"),
        required=False,
        max_length=500,
        strip=True,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("The mailbox's password, or the token that @BotFather gave. Empty: the stored one stays."),
    )

    class Meta:
        model = Channel
        exclude = ["created_at"]  # noqa: DJ006 - the admin's fieldsets name every field

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        bot, business = data.get("bot"), data.get("business")
        if bot and business and bot.business_id != business.pk:
            self.add_error("bot", _("This bot belongs to another business."))
        if not data.get("new_secret") and not self.instance.encrypted_secret:
            self.add_error("new_secret", _("Without it nothing can be read or sent."))
        if data.get("kind") == ChannelKind.EMAIL:
            self._check_mail(data)
        elif data.get("new_secret") and not TOKEN.fullmatch(data["new_secret"]):
            self.add_error("new_secret", _("A token looks like 123456:ABC-DEF."))
        return data

    def _check_mail(self, data: dict[str, Any]) -> None:
        for name in MAIL_NEEDS:
            if not data.get(name):
                self.add_error(name, _("A mailbox needs this."))
        if data.get("address") and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", data["address"]):
            self.add_error("address", _("Write a whole address, such as help@shop.example."))

    def save(self, commit: bool = True) -> Channel:
        if self.cleaned_data.get("new_secret"):
            self.instance.encrypted_secret = seal(self.cleaned_data["new_secret"], purpose=SEAL_PURPOSE)
        channel: Channel = super().save(commit)
        return channel
