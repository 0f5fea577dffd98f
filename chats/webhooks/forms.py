"""The form of a webhook."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget

from chats.models import WebhookEndpoint
from chats.webhooks.events import Event

MOST_ENDPOINTS = 20


class WebhookEndpointForm(forms.ModelForm[WebhookEndpoint]):
    """Which events go where."""

    events = forms.MultipleChoiceField(
        label=_("Events"), choices=Event.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget
    )

    class Meta:
        model = WebhookEndpoint
        fields = ["business", "name", "url", "events", "is_active"]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        if urlsplit(url).scheme != "https" and settings.PRODUCTION:
            raise ValidationError(_("The address must begin with https://, as it is told what customers write."))
        return url

    def clean(self) -> dict[str, Any] | None:
        cleaned = super().clean()
        business = (cleaned or {}).get("business") if self.instance._state.adding else None
        if business is not None and WebhookEndpoint.objects.for_business(business).count() >= MOST_ENDPOINTS:
            raise ValidationError(_("A business may have %(most)s webhooks."), params={"most": MOST_ENDPOINTS})
        return cleaned
