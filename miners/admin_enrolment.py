"""Enrolment tokens in the admin, for platform staff: made, shown once with the command that uses them, revoked."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Final

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminSelectWidget

from accounts.admin import become, shown_once_page
from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.choices import AuditAction
from accounts.permissions import Right
from accounts.scoped_admin import SuperuserModelAdmin, button, column, user_of
from mia.lib import phrases
from miners import services
from miners.choices import Trust
from miners.installer import enrolment_command, platform_url
from miners.models import EnrolmentToken

TOKEN_COLOURS: Final = {"Live": "success", "Used up": "default", "Expired": "warning", "Revoked": "danger"}
ENROLLED_TRUSTS: Final = [(trust.value, trust.label) for trust in (Trust.PROBATION, Trust.VERIFIED, Trust.TRUSTED)]
TOKEN_LIFETIME: Final = timedelta(days=7)


class EnrolmentTokenForm(forms.ModelForm[EnrolmentToken]):
    """A token to be made."""

    trust = forms.TypedChoiceField(
        label=_("Starts as"),
        choices=ENROLLED_TRUSTS,
        coerce=int,
        widget=UnfoldAdminSelectWidget(),
        help_text=_("In probation a miner is given canaries and idle jobs only; five right answers verify it."),
    )

    class Meta:
        model = EnrolmentToken
        fields = ["name", "trust", "max_uses", "expires_at"]
        labels = {"max_uses": _("How many machines"), "expires_at": _("Valid until")}


def token_state(token: EnrolmentToken, now: datetime) -> str:
    if token.revoked_at is not None:
        return "Revoked"
    if token.expires_at is not None and token.expires_at <= now:
        return "Expired"
    return "Used up" if token.uses >= token.max_uses else "Live"


@admin.register(EnrolmentToken)
class EnrolmentTokenAdmin(ActionsModelAdmin[EnrolmentToken], SuperuserModelAdmin[EnrolmentToken]):
    """Secrets that let machines register; shown once, with the command that uses them."""

    form = EnrolmentTokenForm
    change_right = delete_right = None
    list_display = ["name", "begins_with", "state", "used", "trust", "created_by", "expires_at"]
    list_filter = [("trust", ChoicesDropdownFilter)]
    list_select_related = ["created_by"]
    search_fields = ["name", "prefix"]
    ordering = ["-created_at"]
    page_actions = ("revoke",)
    actions = ["revoke_selected"]
    change_form_template = "parts/change_form_with_actions.html"
    empty_hint = _("A machine needs a token once, to register. Add one, and you get the command to run on the machine.")

    def get_fieldsets(self, request: HttpRequest, obj: EnrolmentToken | None = None) -> Any:
        if obj is None:
            return [(None, {"fields": ["name", "trust", "max_uses", "expires_at"]})]
        dates = ["created_at", "created_by", "expires_at", "revoked_at"]
        return [
            (None, {"fields": ["name", "begins_with", "state", "used", "trust", "enrolled"]}),
            (_("Dates"), {"fields": dates}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: EnrolmentToken | None = None) -> list[str]:
        return (
            []
            if obj is None
            else ["begins_with", "state", "used", "enrolled", "created_at", "created_by", "revoked_at"]
        )

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None) -> Any:
        only_save = {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().add_view(request, form_url, {**only_save, **(extra_context or {})})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        return {"expires_at": timezone.now() + TOKEN_LIFETIME, "trust": Trust.PROBATION, "max_uses": 1}

    def save_model(
        self, request: HttpRequest, obj: EnrolmentToken, form: forms.ModelForm[EnrolmentToken], change: bool
    ) -> None:
        token, plain = services.create_enrolment_token(
            name=obj.name,
            trust=Trust(obj.trust),
            max_uses=obj.max_uses,
            expires_at=obj.expires_at,
            created_by=user_of(request),
        )
        become(obj, token)
        self.record(request, AuditAction.CREATED, obj, {"trust": token.get_trust_display(), "max_uses": token.max_uses})
        request.shown_once = plain  # type: ignore[attr-defined]

    def response_add(
        self, request: HttpRequest, obj: EnrolmentToken, post_url_continue: str | None = None
    ) -> HttpResponse:
        plain = request.shown_once  # type: ignore[attr-defined]
        context = {"token": plain, "command": enrolment_command(platform_url(request), plain)}
        return shown_once_page(self, request, obj, "miners/token_made.html", context)

    @page_action(
        PageAction(
            _("Revoke"),
            Right.MANAGE,
            "block",
            "danger",
            offered=lambda token: token.revoked_at is None,
            confirm=_("No machine can register with it any more. Those that did stay."),
        )
    )
    def revoke(self, request: HttpRequest, token: EnrolmentToken, words: str) -> str:
        services.revoke_enrolment_token(token=token, now=timezone.now())
        return str(_("The token is revoked."))

    @button(description=_("Revoke"), permissions=["view"])
    def revoke_selected(self, request: HttpRequest, queryset: models.QuerySet[EnrolmentToken]) -> None:
        tokens = list(queryset.filter(revoked_at=None))
        for token in tokens:
            services.revoke_enrolment_token(token=token, now=timezone.now())
            self.record(request, AuditAction.REVOKED, token)
        text = ngettext("%(count)d token is revoked.", "%(count)d tokens are revoked.", len(tokens))
        messages.success(request, text % {"count": len(tokens)})

    @column(description=_("begins with"), ordering="prefix")
    def begins_with(self, token: EnrolmentToken) -> str:
        return f"{token.prefix}…"

    @column(description=_("state"), label=TOKEN_COLOURS)
    def state(self, token: EnrolmentToken) -> str:
        return token_state(token, timezone.now())

    @column(description=_("used"), ordering="uses")
    def used(self, token: EnrolmentToken) -> str:
        return str(_("%(uses)d of %(most)d") % {"uses": token.uses, "most": token.max_uses})

    @column(description=_("miners"))
    def enrolled(self, token: EnrolmentToken) -> str:
        return ", ".join(token.miners.values_list("name", flat=True)) or phrases.NOTHING
