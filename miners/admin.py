"""Miners in the admin, for platform staff; enrolment, jobs and canaries are in the files beside this one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import UnfoldAdminIntegerFieldWidget

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.choices import AuditAction
from accounts.permissions import Right
from accounts.scoped_admin import SuperuserModelAdmin, button, column, user_of
from mia.lib import phrases
from miners import admin_canaries, admin_enrolment, admin_jobs, services
from miners.admin_miner_page import miner_page, presence
from miners.choices import MinerStatus, Trust
from miners.limits import MAX_SLOTS
from miners.models import Miner
from miners.querysets import MinerQuerySet

__all__ = ["MinerAdmin", "admin_canaries", "admin_enrolment", "admin_jobs"]

PRESENCE_COLOURS = {
    "idle": "success",
    "busy": "info",
    "draining": "warning",
    "paused": "warning",
    "offline": "default",
    "banned": "danger",
}
TRUST_COLOURS = {
    Trust.BANNED: "danger",
    Trust.SUSPECT: "danger",
    Trust.PROBATION: "warning",
    Trust.VERIFIED: "info",
    Trust.TRUSTED: "success",
}


class PresenceFilter(admin.SimpleListFilter):
    """Miners that are there, and what they do."""

    title = _("presence")
    parameter_name = "presence"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [
            ("online", _("Online")),
            ("idle", _("Idle")),
            ("busy", _("Busy")),
            ("draining", _("Draining")),
            ("paused", _("Paused")),
            ("offline", _("Offline")),
        ]

    def queryset(self, request: HttpRequest, queryset: MinerQuerySet) -> MinerQuerySet:  # type: ignore[override]
        online = Miner.objects.online(timezone.now()).values("pk")
        match self.value():
            case "online":
                return queryset.filter(pk__in=online)
            case "idle" | "busy":
                return queryset.filter(pk__in=online, status=self.value(), drain_requested=False, pause_requested=False)
            case "paused":
                return queryset.filter(
                    models.Q(pause_requested=True) | models.Q(status=MinerStatus.PAUSED),
                    pk__in=online,
                    drain_requested=False,
                )
            case "draining":
                return queryset.filter(
                    models.Q(drain_requested=True) | models.Q(status=MinerStatus.DRAINING), pk__in=online
                )
            case "offline":
                return queryset.exclude(pk__in=online)
        return queryset


class MinerForm(forms.ModelForm[Miner]):
    """The one thing about a miner that staff set by number."""

    max_slots = forms.IntegerField(
        label=_("Jobs at once, at most"),
        required=False,
        min_value=1,
        max_value=MAX_SLOTS,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=_("Empty: as many as it has slots. The miner hears of a change with its next heartbeat."),
    )

    class Meta:
        model = Miner
        fields = ["max_slots"]


def moved(trust: Trust) -> Callable[[Any], bool]:
    """Whether a miner is not yet where a button would move it."""
    return lambda miner: miner.trust != trust


@admin.register(Miner)
class MinerAdmin(ActionsModelAdmin[Miner], SuperuserModelAdmin[Miner]):
    """Miners: who is there, what they can do, how far they are trusted."""

    form = MinerForm
    add_right = delete_right = None
    list_display = [
        "machine",
        "shown_presence",
        "shown_trust",
        "shown_models",
        "shown_slots",
        "job_count",
        "tokens",
        "faults",
        "heard",
    ]
    list_filter = [PresenceFilter, ("trust", ChoicesDropdownFilter)]
    search_fields = ["name", "gpu_name", "ip_address", "agent"]
    ordering = ["name"]
    fields = ["max_slots"]
    actions = [
        "verify_selected",
        "trust_selected",
        "suspect_selected",
        "ban_selected",
        "pause_selected",
        "resume_selected",
        "drain_selected",
        "undrain_selected",
    ]
    page_actions = ("verify", "make_trusted", "suspect", "ban", "pause", "resume", "drain", "undrain")
    change_form_template = "miners/miner.html"
    empty_hint = _(
        "No machine has registered yet. Add an enrolment token, and run the command that you get on a machine."
    )

    def page_context(self, request: HttpRequest, row: Miner) -> dict[str, Any]:
        return {"page": miner_page(row, timezone.now()), "subtitle": None}

    def save_model(self, request: HttpRequest, obj: Miner, form: forms.ModelForm[Miner], change: bool) -> None:
        services.limit_slots(miner=obj, max_slots=obj.max_slots)
        self.record(request, AuditAction.CHANGED, obj, {"max_slots": [form.initial.get("max_slots"), obj.max_slots]})

    # --- Columns

    @column(description=_("miner"), ordering="name", header=True)
    def machine(self, miner: Miner) -> list[str]:
        gpu = miner.gpu_name or str(_("no GPU"))
        return [miner.name, f"{gpu} · {phrases.memory(miner.gpu_memory_mb)}" if miner.gpu_memory_mb else gpu]

    @column(description=_("status"), ordering="status", label=PRESENCE_COLOURS)
    def shown_presence(self, miner: Miner) -> str:
        return presence(miner, timezone.now())

    @column(description=_("trust"), ordering="trust", label=TRUST_COLOURS)
    def shown_trust(self, miner: Miner) -> tuple[int, str]:
        return miner.trust, miner.get_trust_display()

    @column(description=_("models"))
    def shown_models(self, miner: Miner) -> str:
        return ", ".join(miner.model_ids) or str(_("any"))

    @column(description=_("slots"), ordering="slots")
    def shown_slots(self, miner: Miner) -> str:
        return f"{min(miner.slots, miner.max_slots or miner.slots)} / {miner.slots}"

    @column(description=_("tokens"), ordering="total_tokens_generated")
    def tokens(self, miner: Miner) -> str:
        return phrases.count(miner.total_tokens_generated)

    @column(description=_("faults"), ordering="fault_count")
    def faults(self, miner: Miner) -> str:
        return phrases.count(miner.fault_count)

    @column(description=_("last heard"), ordering="last_active")
    def heard(self, miner: Miner) -> str:
        return phrases.ago(miner.last_active, timezone.now())

    # --- One miner, from its page

    @page_action(
        PageAction(_("Verify"), Right.MANAGE, "verified", offered=moved(Trust.VERIFIED), asks=_("Why (optional)"))
    )
    def verify(self, request: HttpRequest, miner: Miner, words: str) -> str:
        return self._set_trust(request, miner, Trust.VERIFIED, words)

    @page_action(PageAction(_("Trust"), Right.MANAGE, "shield", offered=moved(Trust.TRUSTED), asks=_("Why (optional)")))
    def make_trusted(self, request: HttpRequest, miner: Miner, words: str) -> str:
        return self._set_trust(request, miner, Trust.TRUSTED, words)

    @page_action(
        PageAction(
            _("Suspect"),
            Right.MANAGE,
            "gpp_maybe",
            offered=moved(Trust.SUSPECT),
            asks=_("Why (optional)"),
            confirm=_("It will only be given jobs whose answers are thrown away."),
        )
    )
    def suspect(self, request: HttpRequest, miner: Miner, words: str) -> str:
        return self._set_trust(request, miner, Trust.SUSPECT, words)

    @page_action(
        PageAction(
            _("Ban"),
            Right.MANAGE,
            "block",
            "danger",
            offered=moved(Trust.BANNED),
            asks=_("Why (optional)"),
            confirm=_("It will be given nothing any more, and what it works on goes to another miner."),
        )
    )
    def ban(self, request: HttpRequest, miner: Miner, words: str) -> str:
        return self._set_trust(request, miner, Trust.BANNED, words)

    @page_action(PageAction(_("Pause"), Right.MANAGE, "pause", offered=lambda miner: not miner.pause_requested))
    def pause(self, request: HttpRequest, miner: Miner, words: str) -> str:
        services.request_pause(miner=miner, pause=True)
        return str(_("%s finishes its customers' answers, hands idle jobs back and then waits.") % miner)

    @page_action(PageAction(_("Resume"), Right.MANAGE, "play_circle", offered=lambda miner: miner.pause_requested))
    def resume(self, request: HttpRequest, miner: Miner, words: str) -> str:
        services.request_pause(miner=miner, pause=False)
        return str(_("%s takes jobs again.") % miner)

    @page_action(
        PageAction(_("Drain"), Right.MANAGE, "hourglass_bottom", offered=lambda miner: not miner.drain_requested)
    )
    def drain(self, request: HttpRequest, miner: Miner, words: str) -> str:
        services.request_drain(miner=miner, drain=True)
        return str(_("%s finishes what it has and takes nothing new.") % miner)

    @page_action(
        PageAction(_("Let it work again"), Right.MANAGE, "play_arrow", offered=lambda miner: miner.drain_requested)
    )
    def undrain(self, request: HttpRequest, miner: Miner, words: str) -> str:
        services.request_drain(miner=miner, drain=False)
        return str(_("%s takes jobs again.") % miner)

    def _set_trust(self, request: HttpRequest, miner: Miner, trust: Trust, words: str) -> str:
        reason = f"{words} ({user_of(request)})" if words else f"by {user_of(request)}"
        services.set_trust(miner, trust, reason=reason, now=timezone.now())
        return str(_("%(miner)s is now %(trust)s.") % {"miner": miner, "trust": trust.label})

    # --- Several, from the list

    @button(description=_("Verify"), permissions=["change"])
    def verify_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._move_all(request, queryset, Trust.VERIFIED)

    @button(description=_("Trust"), permissions=["change"])
    def trust_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._move_all(request, queryset, Trust.TRUSTED)

    @button(description=_("Suspect"), permissions=["change"])
    def suspect_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._move_all(request, queryset, Trust.SUSPECT)

    @button(description=_("Ban …"), permissions=["change"])
    def ban_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> HttpResponse | None:
        if "confirmed" in request.POST:
            self._move_all(request, queryset, Trust.BANNED)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": _("Ban these miners?"),
            "opts": self.opts,
            "miners": queryset,
            "back": reverse("admin:miners_miner_changelist"),
        }
        return TemplateResponse(request, "miners/ban_miners.html", context)

    @button(description=_("Pause"), permissions=["change"])
    def pause_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._pause_all(request, queryset, pause=True)

    @button(description=_("Resume"), permissions=["change"])
    def resume_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._pause_all(request, queryset, pause=False)

    @button(description=_("Drain"), permissions=["change"])
    def drain_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._drain_all(request, queryset, drain=True)

    @button(description=_("Let them work again"), permissions=["change"])
    def undrain_selected(self, request: HttpRequest, queryset: MinerQuerySet) -> None:
        self._drain_all(request, queryset, drain=False)

    def _move_all(self, request: HttpRequest, miners: MinerQuerySet, trust: Trust) -> None:
        changed = [miner for miner in miners if miner.trust != trust]
        for miner in changed:
            before = Trust(miner.trust)
            self._set_trust(request, miner, trust, "")
            self.record(request, AuditAction.PERFORMED, miner, {"trust": [before.label, trust.label]})
        self._tell(request, len(changed), trust.label)

    def _drain_all(self, request: HttpRequest, miners: MinerQuerySet, *, drain: bool) -> None:
        changed = list(miners.exclude(drain_requested=drain))
        for miner in changed:
            services.request_drain(miner=miner, drain=drain)
            self.record(request, AuditAction.PERFORMED, miner, {"drain": drain})
        self._tell(request, len(changed), str(_("draining") if drain else _("working again")))

    def _pause_all(self, request: HttpRequest, miners: MinerQuerySet, *, pause: bool) -> None:
        changed = list(miners.exclude(pause_requested=pause))
        for miner in changed:
            services.request_pause(miner=miner, pause=pause)
            self.record(request, AuditAction.PERFORMED, miner, {"pause": pause})
        self._tell(request, len(changed), str(_("paused") if pause else _("working again")))

    def _tell(self, request: HttpRequest, number: int, state: str) -> None:
        text = ngettext("%(number)d miner is now %(state)s.", "%(number)d miners are now %(state)s.", number)
        messages.success(request, text % {"number": number, "state": state})
