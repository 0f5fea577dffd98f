"""Test sets in the admin: questions that a bot must answer, and every run of them."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.admin import TabularInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.admin_pages import PageAction, page_action
from accounts.permissions import Right
from accounts.scoped_admin import column
from knowledge import test_sets
from knowledge.admin_answers import BotForm, BotRowsAdmin
from knowledge.admin_documents import ReadOnlyAdmin
from knowledge.models import TestCase, TestRun, TestSet


class CaseForm(forms.ModelForm[TestCase]):
    """A question, and what must be found for it."""

    class Meta:
        model = TestCase
        fields = ["question", "expected_phrase", "expected_url", "expects_refusal"]

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("expects_refusal") and (data.get("expected_phrase") or data.get("expected_url")):
            self.add_error("expects_refusal", _("What it must not know can come from nowhere."))
        return data


class CaseInline(TabularInline):  # type: ignore[misc]
    """The questions of a set."""

    model = TestCase
    form = CaseForm
    extra = 1
    per_page = 100
    fields = ["question", "expected_phrase", "expected_url", "expects_refusal"]
    verbose_name = _("question")
    verbose_name_plural = _("questions")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None

    has_change_permission = has_delete_permission = has_view_permission


class SetForm(BotForm):
    """A set of questions of one bot."""

    class Meta:
        model = TestSet
        fields = ["name"]


@admin.register(TestSet)
class TestSetAdmin(BotRowsAdmin):
    """Sets of questions; all of a bot's are run before a change to it is published."""

    form = SetForm
    own_fields = ("name",)
    list_display = ["name", "whom", "business", "question_count", "last_run"]
    search_fields = ["name"]
    ordering = ["name"]
    page_actions = ("run_it",)
    empty_hint = _("Write down what your bot must know, and what it must not: a change that breaks it is then stopped.")

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return [] if obj is None else [CaseInline]

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for case in formset.save(commit=False):
            case.business_id = form.instance.business_id
            case.save()
        for case in formset.deleted_objects:
            case.delete()
        formset.save_m2m()

    @column(description=_("questions"))
    def question_count(self, test_set: TestSet) -> int:
        return int(test_set.cases.count())

    @column(description=_("last run"))
    def last_run(self, test_set: TestSet) -> SafeString | str:
        run = test_set.runs.first()
        return chip_of(run) if run is not None else str(_("never"))

    @page_action(PageAction(label=_("Run now"), right=Right.WORK, icon="play_arrow", variant="primary"))
    def run_it(self, request: HttpRequest, test_set: TestSet, words: str) -> str:
        run = test_sets.run(test_set=test_set, config=None, now=timezone.now())
        return _now("%(passed)d passed, %(failed)d failed.") % {"passed": run.passed, "failed": run.failed}


@admin.register(TestRun)
class TestRunAdmin(ReadOnlyAdmin):
    """Runs of test sets, each with the verdict on every question."""

    list_display = ["created_at", "test_set", "outcome", "business", "model_config", "overridden_by_label"]
    list_filter = [("status", ChoicesDropdownFilter)]
    list_select_related = ["test_set", "model_config"]
    ordering = ["-created_at"]
    fields = ["test_set", "outcome", "model_config", "created_at", "overridden_by_label", "override_reason", "verdicts"]
    readonly_fields = ["outcome", "verdicts"]
    empty_hint = _("Each run of a test set is kept here.")

    @column(description=_("outcome"))
    def outcome(self, run: TestRun) -> SafeString:
        return chip_of(run)

    @column(description=_("questions"))
    def verdicts(self, run: TestRun) -> SafeString:
        rows = format_html_join(
            "",
            '<li class="mia-line"><span class="mia-chip" data-tone="{}">{}</span> <span>{}</span> '
            '<small class="mia-soft">{}</small></li>',
            (
                (
                    "good" if row.get("passed") else "bad",
                    _("passed") if row.get("passed") else _("failed"),
                    row.get("question", ""),
                    row.get("reason", ""),
                )
                for row in run.results
                if isinstance(row, dict)
            ),
        )
        return format_html('<ul class="mia-stack">{}</ul>', rows)


def chip_of(run: TestRun) -> SafeString:
    tone = "bad" if run.failed else "good"
    return format_html('<span class="mia-chip" data-tone="{}">{}</span>', tone, str(run))
