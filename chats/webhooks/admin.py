"""Webhooks in the admin: where events go, and how each delivery went."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.enums import ActionVariant

from accounts.permissions import Right
from accounts.scoped_admin import TenantModelAdmin, button, column, user_of
from accounts.shown_once import shown_once_page
from chats.choices import DeliveryState
from chats.models import WebhookDelivery, WebhookEndpoint
from chats.webhooks import outbox, services
from chats.webhooks.delivering import body_of
from chats.webhooks.forms import WebhookEndpointForm
from mia.lib import phrases

STATE_COLOURS = {"Working": "success", "Failing": "warning", "Off": "danger"}
DELIVERY_COLOURS = {
    DeliveryState.PENDING: "info",
    DeliveryState.DELIVERED: "success",
    DeliveryState.FAILED: "danger",
}


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(TenantModelAdmin[WebhookEndpoint]):
    """Addresses that are told what happens."""

    form = WebhookEndpointForm
    view_right = add_right = change_right = delete_right = Right.MANAGE
    list_display = ["name", "url", "business", "events_shown", "state", "updated_at"]
    list_filter = ["is_active", "business"]
    list_select_related = ["business"]
    search_fields = ["name", "url"]
    actions_submit_line = ["send_test_event", "make_new_secret"]
    empty_hint = _("Add the address of your own server to have it told of new conversations, messages and leads.")

    def get_fieldsets(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> Any:
        shown: list[Any] = [(None, {"fields": ["business", "name", "url", "events", "is_active"]})]
        if obj is not None:
            facts = ["state", "failing_since", "disabled_reason", "previous_secret_until"]
            shown.append((_("How it goes"), {"fields": facts}))
        return self.for_user(request, shown)

    def get_readonly_fields(self, request: HttpRequest, obj: WebhookEndpoint | None = None) -> list[str]:
        return ["state", "failing_since", "disabled_reason", "previous_secret_until"]

    def save_model(
        self, request: HttpRequest, obj: WebhookEndpoint, form: forms.ModelForm[WebhookEndpoint], change: bool
    ) -> None:
        if not change:
            request.shown_once = services.add_endpoint(actor=user_of(request), endpoint=obj)  # type: ignore[attr-defined]
            return
        if "is_active" in form.changed_data and obj.is_active:
            obj.failing_since, obj.disabled_reason = None, ""
        super().save_model(request, obj, form, change)
        outbox.forget_subscriptions()

    def response_add(
        self, request: HttpRequest, obj: WebhookEndpoint, post_url_continue: str | None = None
    ) -> HttpResponse:
        return self._show_secret(request, obj, request.shown_once)  # type: ignore[attr-defined]

    def response_change(self, request: HttpRequest, obj: WebhookEndpoint) -> HttpResponse:
        secret = getattr(request, "shown_once", None)
        return self._show_secret(request, obj, secret) if secret else super().response_change(request, obj)

    def _show_secret(self, request: HttpRequest, obj: WebhookEndpoint, secret: str) -> HttpResponse:
        return shown_once_page(self, request, obj, "chats/admin/webhook_secret.html", {"secret": secret})

    @button(description=_("Send a test event"), icon="send")
    def send_test_event(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        services.ping(endpoint=obj, now=timezone.now())
        messages.success(request, _("A test event is on its way; see the deliveries for how it went."))

    @button(description=_("Make a new secret"), icon="key", variant=ActionVariant.WARNING)
    def make_new_secret(self, request: HttpRequest, obj: WebhookEndpoint) -> None:
        secret = services.rotate_secret(actor=user_of(request), endpoint=obj, now=timezone.now())
        request.shown_once = secret  # type: ignore[attr-defined]

    @column(description=_("events"))
    def events_shown(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.events)

    @column(description=_("state"), label=STATE_COLOURS)
    def state(self, endpoint: WebhookEndpoint) -> str:
        if not endpoint.is_active:
            return "Off"
        return "Failing" if endpoint.failing_since else "Working"


@admin.register(WebhookDelivery)
class WebhookDeliveryAdmin(TenantModelAdmin[WebhookDelivery]):
    """The log: what was sent where, and what came back."""

    view_right = Right.MANAGE
    add_right = change_right = delete_right = None
    list_display = ["event", "endpoint", "shown_state", "attempts", "http_status", "latency_ms", "business", "happened"]
    list_filter = [
        ("state", ChoicesDropdownFilter),
        "endpoint",
        "business",
        ("message__created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["message", "endpoint", "business"]
    search_fields = ["message__event", "endpoint__name", "excerpt"]
    actions = ["send_again"]
    empty_hint = _("Nothing was sent yet. Open a webhook and send it a test event.")
    fields = [
        "event", "message_id_shown", "endpoint", "shown_state", "attempts", "next_attempt_at", "http_status",
        "latency_ms", "excerpt", "finished_at", "body",
    ]  # fmt: skip
    readonly_fields = ["event", "message_id_shown", "shown_state", "body"]

    @button(description=_("Send again"))
    def send_again(self, request: HttpRequest, queryset: models.QuerySet[WebhookDelivery]) -> None:
        chosen = list(self.permitted(request, queryset, Right.MANAGE).select_related("endpoint"))
        for delivery in chosen:
            services.replay(delivery=delivery, now=timezone.now())
        text = ngettext(
            "%(count)d delivery is on its way again.", "%(count)d deliveries are on their way again.", len(chosen)
        )
        messages.success(request, text % {"count": len(chosen)})

    @column(description=_("event"), ordering="message__event")
    def event(self, delivery: WebhookDelivery) -> str:
        return delivery.message.event

    @column(description=_("webhook-id"))
    def message_id_shown(self, delivery: WebhookDelivery) -> str:
        return f"msg_{delivery.message.public_id.hex}"

    @column(description=_("state"), label=DELIVERY_COLOURS)
    def shown_state(self, delivery: WebhookDelivery) -> tuple[str, str]:
        return delivery.state, str(DeliveryState(delivery.state).label)

    @column(description=_("happened"), ordering="message__created_at")
    def happened(self, delivery: WebhookDelivery) -> str:
        return phrases.ago(delivery.message.created_at, timezone.now())

    @column(description=_("what is sent"))
    def body(self, delivery: WebhookDelivery) -> SafeString:
        text = json.dumps(json.loads(body_of(delivery.message)), indent=2, ensure_ascii=False)
        return format_html('<pre class="text-xs whitespace-pre-wrap">{}</pre>', text)
