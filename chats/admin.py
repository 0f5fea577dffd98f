"""Bots in the admin; conversations and what visitors leave are in the files beside this one."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.conf import settings
from django.contrib import admin
from django.db import models
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from accounts.choices import AuditAction, KeyKind
from accounts.keys import parse_key
from accounts.models import ApiKey
from accounts.permissions import Right
from accounts.scoped_admin import TenantModelAdmin, column, user_of
from chats import admin_conversations, admin_feedback, admin_safety
from chats.channels import admin as admin_channels
from chats.desk import admin as admin_desk
from chats.forms import BotForm
from chats.models import Bot, Conversation
from chats.webhooks import admin as admin_webhooks
from knowledge import configs, prompt_gate
from knowledge.services import forget_bot

__all__ = [
    "BotAdmin",
    "admin_channels",
    "admin_conversations",
    "admin_desk",
    "admin_feedback",
    "admin_safety",
    "admin_webhooks",
]

MODEL_FIELDS: Final = frozenset(
    {"model", "max_tokens", "temperature", "max_context_tokens", "instructions", "tone", "role"}
)
"""What decides how a bot's model writes; each change of it is kept as a version."""

FIELDSETS: Any = [
    (None, {"fields": ["business", "name", ("is_active", "is_default")]}),
    (
        _("What it knows"),
        {
            "fields": ["business_description"],
            "description": _(
                "Copy in what you would tell a new colleague. It answers from this and says so when it does not know."
            ),
        },
    ),
    (
        _("How it speaks"),
        {"fields": ["role", "tone", "languages", "instructions", "first_message", "confirmation_message"]},
    ),
    (_("How it looks"), {"fields": ["title", ("color", "position")]}),
    (
        _("Limits"),
        {
            "classes": ["collapse"],
            "fields": ["model", ("max_tokens", "temperature", "max_context_tokens"), "widget_key"],
        },
    ),
]


def tests_fieldset(cases: int) -> Any:
    told = ngettext(
        "A change to what it knows or how it speaks is saved once its %d test question is answered still.",
        "A change to what it knows or how it speaks is saved once its %d test questions are answered still.",
        cases,
    )
    return (_("Tests"), {"fields": ["override_reason"], "description": told % cases})


@admin.register(Bot)
class BotAdmin(TenantModelAdmin[Bot]):
    """Bots: persona, facts, limits, look; and how to put them on a page."""

    form = BotForm
    list_display = ["name", "role", "business", "is_active", "is_default", "languages_shown", "conversations_held"]
    list_filter = ["is_active", "business"]
    list_select_related = ["business"]
    search_fields = ["name", "role"]
    ordering = ["name"]
    change_form_template = "chats/admin/bot.html"
    compressed_fields = False
    fieldsets = FIELDSETS
    empty_hint = _("Make your first bot: give it a name and paste in what customers ask about. It answers at once.")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Bot]:
        held = Conversation.objects.filter(bot=OuterRef("pk")).order_by().values("bot").annotate(number=Count("pk"))
        return super().get_queryset(request).annotate(conversation_count=Coalesce(Subquery(held.values("number")), 0))

    def choices_for(
        self, db_field: Any, request: HttpRequest, narrowed: models.QuerySet[Any] | None
    ) -> models.QuerySet[Any]:
        if db_field.name == "widget_key":
            narrowed = ApiKey.objects.live(timezone.now()).filter(kind=KeyKind.PUBLISHABLE).select_related("business")
        return super().choices_for(db_field, request, narrowed)

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {
            "is_default": not self.get_queryset(request).exists(),
            "is_active": True,
            "first_message": str(_("Hello! How can I help?")),
        }

    def save_model(self, request: HttpRequest, obj: Bot, form: forms.ModelForm[Bot], change: bool) -> None:
        if obj.is_default:
            others = Bot.objects.for_business(obj.business_id).exclude(pk=obj.pk)
            others.filter(is_default=True).update(is_default=False)
        super().save_model(request, obj, form, change)
        self._note_override(request, obj, form)
        if MODEL_FIELDS & set(form.changed_data):
            self._record_model_settings(request, obj)

    def _note_override(self, request: HttpRequest, bot: Bot, form: forms.ModelForm[Bot]) -> None:
        """A change that was saved although test questions fail under it is on record, with the reason."""
        verdict = form.verdict if isinstance(form, BotForm) else None
        if verdict is not None and not verdict.passes:
            reason = form.cleaned_data["override_reason"].strip()
            prompt_gate.note_override(verdict, reason=reason, by=str(user_of(request)))
            changes = {"saved in spite of": " ".join(verdict.complaints), "because": reason}
            self.record(request, AuditAction.PERFORMED, bot, changes)

    def get_fieldsets(self, request: HttpRequest, obj: Bot | None = None) -> Any:
        cases = prompt_gate.count_cases(business_id=obj.business_id, bot_id=obj.pk) if obj is not None else 0
        return [*FIELDSETS, tests_fieldset(cases)] if cases else FIELDSETS

    def _record_model_settings(self, request: HttpRequest, bot: Bot) -> None:
        user = user_of(request)
        configs.record_model_settings(
            business_id=bot.business_id,
            bot_id=bot.pk,
            model=bot.model,
            settings={name: getattr(bot, name) for name in sorted(MODEL_FIELDS - {"model"})},
            changed_by=str(user),
            user_id=user.pk,
            now=timezone.now(),
        )

    def delete_model(self, request: HttpRequest, obj: Bot) -> None:
        who = str(user_of(request))
        forget_bot(business_id=obj.business_id, bot_id=obj.pk, requested_by=who, now=timezone.now())
        super().delete_model(request, obj)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        bot = self.get_object(request, object_id)
        page = {} if bot is None else self.embedding(request, bot)
        return super().change_view(request, object_id, form_url, {**page, **(extra_context or {})})

    def embedding(self, request: HttpRequest, bot: Bot) -> dict[str, Any]:
        """What the panel above the form shows: the snippet with the beginning of a key that reaches this bot."""
        keys = ApiKey.objects.for_business(bot.business_id).live(timezone.now()).filter(kind=KeyKind.PUBLISHABLE)
        reaching = keys.filter(pk=bot.widget_key_id) if bot.widget_key_id else keys
        key = reaching.order_by("-created_at").first()
        query = f"?kind=publishable&business={bot.business_id}"
        script = request.build_absolute_uri("/widget.js")
        return {
            "widget_key": key,
            "snippet": f'<script async src="{script}" data-key="{key.hint if key else ""}"></script>',
            "add_key_url": reverse("admin:accounts_apikey_add") + query,
            "may_add_key": self.allows(request, Right.MANAGE, bot),
            "demo_url": reverse("demo") if demo_shows(bot) else "",
        }

    @column(description=_("languages"))
    def languages_shown(self, bot: Bot) -> str:
        return ", ".join(bot.languages) or str(_("the visitor's"))

    @column(description=_("conversations"), ordering="conversation_count")
    def conversations_held(self, bot: Bot) -> int:
        return int(getattr(bot, "conversation_count", 0))


def demo_shows(bot: Bot) -> bool:
    """Whether the demo page talks to this bot's business."""
    parsed = parse_key(settings.DEMO_PUBLISHABLE_KEY)
    return parsed is not None and ApiKey.objects.for_business(bot.business_id).with_prefix(parsed.prefix).exists()
