"""Canaries in the admin, and how miners did with them; for platform staff."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.scoped_admin import SuperuserModelAdmin, column
from mia.lib import phrases
from miners.models import Canary, CanaryTrial

SNIPPET_CHARS = 120


class CanaryForm(forms.ModelForm[Canary]):
    """A question whose answer stands in the facts."""

    class Meta:
        model = Canary
        fields = ["question", "facts", "expected", "is_active"]
        widgets = {
            "question": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "facts": UnfoldAdminTextareaWidget(attrs={"rows": 6}),
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        facts, expected = data.get("facts"), data.get("expected")
        if facts and expected and expected.casefold() not in facts.casefold():
            self.add_error("expected", _("This does not stand in the facts, so no honest miner could find it."))
        return data


@admin.register(Canary)
class CanaryAdmin(SuperuserModelAdmin[Canary]):
    """Questions with known answers."""

    form = CanaryForm
    list_display = ["question", "expected", "is_active", "passed", "failed", "pass_rate"]
    list_filter = ["is_active"]
    search_fields = ["question", "facts", "expected"]
    ordering = ["question"]
    fields = ["question", "facts", "expected", "is_active"]
    empty_hint = _("Without canaries no miner leaves probation: add questions whose answers stand in their facts.")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Canary]:
        rows = super().get_queryset(request)
        return rows.annotate(
            passed_count=Count("trials", filter=Q(trials__passed=True)),
            failed_count=Count("trials", filter=Q(trials__passed=False)),
        )

    @column(description=_("passed"), ordering="passed_count")
    def passed(self, canary: Canary) -> int:
        return int(getattr(canary, "passed_count", 0))

    @column(description=_("failed"), ordering="failed_count")
    def failed(self, canary: Canary) -> int:
        return int(getattr(canary, "failed_count", 0))

    @column(description=_("pass rate"))
    def pass_rate(self, canary: Canary) -> str:
        return phrases.share(self.passed(canary), self.passed(canary) + self.failed(canary))


@admin.register(CanaryTrial)
class CanaryTrialAdmin(SuperuserModelAdmin[CanaryTrial]):
    """What each miner answered; nobody alters it."""

    add_right = change_right = delete_right = None
    list_display = ["created_at", "miner", "canary", "verdict", "answer"]
    list_filter = ["passed", "miner"]
    list_select_related = ["miner", "canary", "job"]
    search_fields = ["miner__name", "canary__question"]
    ordering = ["-created_at"]
    fields = ["created_at", "miner", "canary", "verdict", "whole_answer", "shown_job"]
    readonly_fields = ["verdict", "whole_answer", "shown_job"]
    empty_hint = _(
        "Miners are given a canary every twenty seconds while in probation, and every quarter of an hour later on."
    )

    @column(
        description=_("verdict"),
        ordering="passed",
        label={"passed": "success", "failed": "danger", "waiting": "default"},
    )
    def verdict(self, trial: CanaryTrial) -> str:
        return "waiting" if trial.passed is None else "passed" if trial.passed else "failed"

    @column(description=_("answer"))
    def answer(self, trial: CanaryTrial) -> str:
        text = " ".join(trial.job.output.split())
        return text if len(text) <= SNIPPET_CHARS else f"{text[:SNIPPET_CHARS]}…"

    @column(description=_("answer"))
    def whole_answer(self, trial: CanaryTrial) -> str:
        return trial.job.output or phrases.NOTHING

    @column(description=_("job"))
    def shown_job(self, trial: CanaryTrial) -> SafeString:
        return format_html(
            '<a class="mia-link" href="{}">{}</a>', reverse("admin:miners_job_change", args=[trial.job_id]), trial.job
        )
