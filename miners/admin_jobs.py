"""Jobs in the admin: platform staff see all, business staff their own, without any miner's address or words."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.admin_pages import PageAction, PageModelAdmin, page_action
from accounts.choices import AuditAction
from accounts.permissions import Right
from accounts.scoped_admin import button, column, user_of
from mia.lib import phrases
from miners import services
from miners.admin_job_page import job_page
from miners.choices import LIVE_STATES, JobState
from miners.models import Job

if TYPE_CHECKING:
    from django.contrib.admin.views.main import ChangeList
else:
    from unfold.views import ChangeList

STATE_COLOURS = {
    JobState.QUEUED: "warning",
    JobState.OFFERED: "info",
    JobState.RUNNING: "info",
    JobState.COMPLETED: "success",
    JobState.FAILED: "danger",
    JobState.CANCELLED: "default",
    JobState.EXPIRED: "danger",
}
RETRIED = (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)
HEAVY = ("messages", "params", "tools", "tool_choice", "tool_calls", "output", "resume_text")


class JobList(ChangeList):
    """The list without the words: a prompt may hold a whole help centre."""

    def get_queryset(self, *args: Any, **kwargs: Any) -> models.QuerySet[Any]:
        return super().get_queryset(*args, **kwargs).defer(*HEAVY)


@admin.register(Job)
class JobAdmin(PageModelAdmin[Job]):
    """Jobs: where they stand, what every attempt came to, what was asked and answered."""

    page_template = "miners/job.html"
    list_display = [
        "shown_job",
        "shown_state",
        "lane",
        "business",
        "shown_miner",
        "attempts_made",
        "age",
        "first_token",
        "tokens",
    ]
    list_filter = [
        ("state", ChoicesDropdownFilter),
        ("kind", ChoicesDropdownFilter),
        ("lane", ChoicesDropdownFilter),
        "miner",
        "business",
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["business", "miner"]
    list_per_page = 50
    show_full_result_count = False
    search_fields = ["id"]
    search_help_text = _("The first letters of a job's id.")
    ordering = ["-created_at"]
    actions = ["cancel_selected", "retry_selected"]
    page_actions = ("cancel", "retry")
    empty_hint = _("Every answer is one job. They appear here as soon as somebody asks a bot something.")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobList]:
        return JobList

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Job]:
        return super().get_queryset(request).select_related("business", "miner")

    def get_list_filter(self, request: HttpRequest) -> Any:
        filters = super().get_list_filter(request)
        return filters if user_of(request).is_superuser else [item for item in filters if item[0] != "miner"]

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        """By the beginning of the id, through the primary key's index."""
        letters = search_term.replace("-", "").strip().lower()
        if not letters:
            return queryset, False
        if len(letters) > 32 or any(letter not in "0123456789abcdef" for letter in letters):
            return queryset.none(), False
        return queryset.filter(pk__range=(UUID(letters.ljust(32, "0")), UUID(letters.ljust(32, "f")))), False

    def page_context(self, request: HttpRequest, row: Job) -> dict[str, Any]:
        is_platform_staff = user_of(request).is_superuser
        return {"page": job_page(row, with_reasons=is_platform_staff), "is_platform_staff": is_platform_staff}

    # --- Columns

    @column(description=_("job"), ordering="created_at", header=True)
    def shown_job(self, job: Job) -> list[str]:
        return [str(job.pk)[:8], job.get_kind_display()]

    @column(description=_("state"), ordering="state", label=STATE_COLOURS)
    def shown_state(self, job: Job) -> tuple[str, str]:
        return job.state, job.get_state_display()

    @column(description=_("miner"), ordering="miner__name", empty_value=phrases.NOTHING)
    def shown_miner(self, job: Job) -> str | None:
        return str(job.miner) if job.miner else None

    @column(description=_("attempts"), ordering="attempt_count")
    def attempts_made(self, job: Job) -> int:
        return job.attempt_count

    @column(description=_("age"), ordering="-created_at")
    def age(self, job: Job) -> str:
        return phrases.ago(job.created_at, timezone.now())

    @column(description=_("first word"))
    def first_token(self, job: Job) -> str:
        return phrases.span(_between(job, "first_token_at"))

    @column(description=_("tokens"), ordering="tokens_generated")
    def tokens(self, job: Job) -> str:
        return phrases.count(job.tokens_generated) if job.tokens_generated else phrases.NOTHING

    # --- Acts

    @page_action(
        PageAction(
            _("Cancel"),
            Right.WORK,
            "block",
            "danger",
            offered=lambda job: job.is_live,
            confirm=_("The miner that works on it stops within a second, and nobody gets an answer."),
        )
    )
    def cancel(self, request: HttpRequest, job: Job, words: str) -> str:
        if services.cancel_job(job=job, now=timezone.now()):
            return str(_("The job is cancelled."))
        return str(_("The job had ended already."))

    @page_action(PageAction(_("Retry"), Right.WORK, "refresh", "primary", offered=lambda job: job.state in RETRIED))
    def retry(self, request: HttpRequest, job: Job, words: str) -> str:
        made = services.retry_job(job=job, now=timezone.now())
        return str(_("Queued again as job %s.") % str(made.pk)[:8])

    def has_work_permission(self, request: HttpRequest) -> bool:
        """For the bulk actions; each row is looked at again."""
        return self.allows(request, Right.WORK)

    @button(description=_("Cancel"), permissions=["work"])
    def cancel_selected(self, request: HttpRequest, queryset: models.QuerySet[Job]) -> None:
        jobs = self.permitted(request, queryset, Right.WORK).filter(state__in=LIVE_STATES)
        done = [job for job in jobs if services.cancel_job(job=job, now=timezone.now())]
        self._tell(request, done, ngettext("%d job is cancelled.", "%d jobs are cancelled.", len(done)), "cancel")

    @button(description=_("Retry"), permissions=["work"])
    def retry_selected(self, request: HttpRequest, queryset: models.QuerySet[Job]) -> None:
        jobs = list(self.permitted(request, queryset, Right.WORK).filter(state__in=RETRIED))
        for job in jobs:
            services.retry_job(job=job, now=timezone.now())
        self._tell(request, jobs, ngettext("%d job is queued again.", "%d jobs are queued again.", len(jobs)), "retry")

    def _tell(self, request: HttpRequest, jobs: list[Job], text: str, act: str) -> None:
        for job in jobs:
            self.record(request, AuditAction.PERFORMED, job, {"act": act})
        messages.success(request, text % len(jobs))


def _between(job: Job, moment: str) -> timedelta | None:
    reached = getattr(job, moment)
    return None if reached is None else reached - job.created_at
