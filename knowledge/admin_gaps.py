"""What bots could not answer, in the admin: gathered questions, a draft, and one button to teach the answer."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.widgets import UnfoldAdminTextareaWidget

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.permissions import Right
from accounts.scoped_admin import column, user_of
from knowledge import drafting, gaps
from knowledge.admin_documents import ReadOnlyAdmin
from knowledge.admin_names import NamedRowsMixin
from knowledge.choices import Retest
from knowledge.models import QuestionCluster, UnansweredQuestion
from mia.lib import phrases

QUESTIONS_SHOWN = 100
RETEST_TONES = {Retest.NOT_YET: "neutral", Retest.ANSWERED: "good", Retest.UNANSWERED: "bad"}


def is_open(cluster: QuestionCluster) -> bool:
    return cluster.status in gaps.OPEN


class ClusterForm(forms.ModelForm[QuestionCluster]):
    """The answer that is being written."""

    class Meta:
        model = QuestionCluster
        fields = ["question", "draft"]
        widgets = {"draft": UnfoldAdminTextareaWidget(attrs={"rows": 6})}
        help_texts = {"draft": _("Correct it, save it, then approve it. Visitors get exactly these words.")}


@admin.register(QuestionCluster)
class QuestionClusterAdmin(NamedRowsMixin, ActionsModelAdmin[QuestionCluster]):
    """Missing answers: the questions that mean the same, the draft, and what asking again came to."""

    business_path = "business_id"
    form = ClusterForm
    add_right = delete_right = None
    change_right = Right.WORK
    change_form_template = "parts/change_form_with_actions.html"
    list_display = ["question", "size", "state", "asked_again", "whom", "business", "last_asked"]
    list_filter = [("status", ChoicesDropdownFilter), ("last_asked_at", RangeDateTimeFilter)]
    search_fields = ["question", "draft"]
    ordering = ["-size", "-last_asked_at"]
    fields = ["question", "status", "size", "draft", "asked", "whom"]
    readonly_fields = ["status", "size", "asked", "whom"]
    page_actions = ("draft_it", "approve_it", "dismiss_it")
    empty_hint = _("When a bot does not know an answer, the question appears here, with others that ask the same.")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        done = [] if obj is None or is_open(obj) else ["question", "draft"]
        return [*self.readonly_fields, *done]

    @column(
        description=_("status"),
        ordering="status",
        label={"open": "danger", "drafted": "warning", "approved": "success", "dismissed": "default"},
    )
    def state(self, cluster: QuestionCluster) -> tuple[str, str]:
        return cluster.status, str(cluster.get_status_display())

    @column(description=_("asked again"))
    def asked_again(self, cluster: QuestionCluster) -> str:
        counted = dict(cluster.questions.order_by().values_list("retest").annotate(models.Count("pk")))
        tested = counted.get(Retest.ANSWERED, 0) + counted.get(Retest.UNANSWERED, 0)
        return f"{counted.get(Retest.ANSWERED, 0)}/{tested} ✓" if tested else phrases.NOTHING

    @column(description=_("last asked"), ordering="last_asked_at")
    def last_asked(self, cluster: QuestionCluster) -> str:
        return phrases.ago(cluster.last_asked_at, timezone.now())

    @column(description=_("what visitors asked"))
    def asked(self, cluster: QuestionCluster) -> SafeString | str:
        questions = cluster.questions.order_by("-asked_at")[:QUESTIONS_SHOWN]
        shown = format_html_join(
            "",
            '<li class="mia-line"><span class="mia-words">{}</span> '
            '<span class="mia-chip" data-tone="{}">{}</span></li>',
            (
                (question.question, RETEST_TONES[Retest(question.retest)], question.get_retest_display())
                for question in questions
            ),
        )
        return format_html('<ul class="mia-stack">{}</ul>', shown) if shown else phrases.NOTHING

    @page_action(PageAction(label=_("Have it drafted"), icon="edit_note", offered=is_open))
    def draft_it(self, request: HttpRequest, cluster: QuestionCluster, words: str) -> str:
        drafting.request_draft(cluster, now=timezone.now())
        return _now("The network is writing a draft; it appears here for you to correct.")

    @page_action(
        PageAction(label=_("Approve and teach"), right=Right.MANAGE, icon="check", variant="primary", offered=is_open)
    )
    def approve_it(self, request: HttpRequest, cluster: QuestionCluster, words: str) -> str:
        drafting.approve(cluster, answer=cluster.draft, approved_by=str(user_of(request)), now=timezone.now())
        return _now("The bot is learning it. The questions are asked again as soon as it has.")

    @page_action(PageAction(label=_("Dismiss"), icon="close", offered=is_open))
    def dismiss_it(self, request: HttpRequest, cluster: QuestionCluster, words: str) -> str:
        gaps.dismiss(cluster)
        return _now("It was dismissed.")


@admin.register(UnansweredQuestion)
class UnansweredQuestionAdmin(ReadOnlyAdmin):
    """Each time that a visitor went without a good answer."""

    list_display = ["question", "why", "again", "whom", "business", "language", "asked_at"]
    list_filter = [
        ("reason", ChoicesDropdownFilter),
        ("retest", ChoicesDropdownFilter),
        ("asked_at", RangeDateTimeFilter),
    ]
    list_select_related = ["cluster"]
    search_fields = ["question"]
    ordering = ["-asked_at"]
    fields = ["question", "reason", "retest", "retested_at", "whom", "language", "asked_at"]
    readonly_fields = ["whom"]
    empty_hint = _("Questions that a bot could not answer, or answered badly, appear here one by one.")

    @column(description=_("why"), ordering="reason", label={"no_evidence": "warning", "bad_rating": "danger"})
    def why(self, question: UnansweredQuestion) -> tuple[str, str]:
        return question.reason, str(question.get_reason_display())

    @column(description=_("asked again"), label={"": "default", "answered": "success", "unanswered": "danger"})
    def again(self, question: UnansweredQuestion) -> tuple[str, str]:
        return question.retest, str(question.get_retest_display())
