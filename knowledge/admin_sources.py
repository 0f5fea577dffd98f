"""Sources in the admin: what the bots are taught, how far each has come, and what went wrong."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.db import models
from django.db.models import Count, OuterRef, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from unfold.admin import StackedInline
from unfold.contrib.filters.admin import ChoicesDropdownFilter

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.choices import AuditAction
from accounts.models import Business
from accounts.permissions import Right, businesses_with, has_right
from accounts.scoped_admin import button, column, user_of
from knowledge import services
from knowledge.admin_names import NamedRowsMixin
from knowledge.choices import FETCHED_KINDS, IN_TRAINING, SourceKind, SourceStatus
from knowledge.forms import NEW_FORMS, AnswerForm, change_form_of
from knowledge.limits import MAX_FILE_BYTES
from knowledge.models import Chunk, CuratedAnswer, Source
from mia.lib import phrases

TONES: Final = {
    SourceStatus.PENDING: "neutral",
    SourceStatus.CREATED: "neutral",
    SourceStatus.UPLOAD_FAILED: "bad",
    SourceStatus.QUEUED: "info",
    SourceStatus.TRAINING: "info",
    SourceStatus.TRAINED: "good",
    SourceStatus.FAILED: "bad",
}
ICONS: Final = {
    SourceKind.URL: "article",
    SourceKind.SITEMAP: "language",
    SourceKind.FILE: "draft",
    SourceKind.TEXT: "notes",
    SourceKind.QA: "quiz",
}
WATCHED_AT_ONCE: Final = 100


class UploadingPage:
    """Tells the limit of bodies that a form with a file may be larger than others."""

    max_body_bytes = MAX_FILE_BYTES + 100_000


class AnswerInline(StackedInline):  # type: ignore[misc]
    """The questions and answers of a set."""

    model = CuratedAnswer
    form = AnswerForm
    extra = 1
    fields = ["question", "other_wordings", "answer"]
    verbose_name = _("answer")
    verbose_name_plural = _("answers")
    per_page = 50

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return obj is not None and has_right(user_of(request), Right.MANAGE, obj.business_id)

    has_change_permission = has_delete_permission = has_add_permission


@admin.register(Source)
class SourceAdmin(NamedRowsMixin, ActionsModelAdmin[Source]):
    """Sources: added by kind, watched while they are trained, looked at again, deleted with all that they taught."""

    business_path = "business_id"
    # Django's own page for it would list every chunk first; the button asks and is done.
    delete_right = None
    list_display = ["name", "progress", "whom", "business", "chunk_count", "looked_at", "next_look"]
    list_filter = [("status", ChoicesDropdownFilter), ("kind", ChoicesDropdownFilter)]
    search_fields = ["title", "location"]
    ordering = ["-created_at"]
    actions = ["look_again"]
    page_actions = ("train_now", "delete_it")
    change_form_template = "knowledge/admin/source.html"
    list_before_template = "knowledge/admin/sources_above.html"
    readonly_fields = ["address", "file_name", "progress", "whom", "chunk_count", "looked_at", "next_look"]
    empty_hint = _("Teach your bot: give it your website, a file, or questions with answers. It learns in minutes.")

    class Media:
        js = ["knowledge/sources.js"]

    # --- Which rows

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Source]:
        cut = Chunk.objects.filter(source=OuterRef("pk")).order_by().values("source").annotate(number=Count("pk"))
        rows = super().get_queryset(request).select_related("file")
        return rows.annotate(chunk_number=Coalesce(Subquery(cut.values("number")), 0))

    # --- Forms

    def get_urls(self) -> list[URLPattern]:
        add = self.admin_site.admin_view(self.add_view)
        add.view_class = UploadingPage  # type: ignore[attr-defined]
        return [
            path("add/", add, name="knowledge_source_add"),
            path("progress/", self.admin_site.admin_view(self.progress_view), name="knowledge_source_progress"),
            *super().get_urls(),
        ]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is not None:
            form = change_form_of(obj)
            kwargs["form"] = type(form.__name__, (form,), {"businesses": self.managed(request)})
            kwargs["fields"] = list(form._meta.fields or [])
            return super().get_form(request, obj, change, **kwargs)
        chosen = NEW_FORMS[kind_asked_for(request)]
        own = {"kind": kind_asked_for(request), "businesses": self.managed(request)}
        return type(chosen.__name__, (chosen,), own)

    def managed(self, request: HttpRequest) -> list[Business]:
        ids = businesses_with(user_of(request), Right.MANAGE)
        businesses = Business.objects.all() if ids is None else Business.objects.filter(pk__in=ids)
        return list(businesses.order_by("name")[:200])

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        if obj is None:
            chosen = NEW_FORMS[kind_asked_for(request)]
            own = ["file"] if "file" in chosen.base_fields else []
            return [(None, {"fields": ["whom", *own, *list(chosen._meta.fields or [])]})]
        form = list(change_form_of(obj)._meta.fields or [])
        place = ["address"] if obj.kind in FETCHED_KINDS else ["file_name"] if obj.kind == SourceKind.FILE else []
        return [
            (None, {"fields": ["progress", "whom", *place, *form]}),
            (_("How it stands"), {"fields": [("chunk_count", "looked_at", "next_look")]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [name for name in self.readonly_fields if name != "whom"] if obj is not None else []

    def get_inlines(self, request: HttpRequest, obj: Any) -> Any:
        return [AnswerInline] if obj is not None and obj.kind == SourceKind.QA else []

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        kind = kind_asked_for(request)
        kinds = [
            {"title": choice.label, "icon": ICONS[choice], "link": f"?kind={choice}", "is_chosen": choice == kind}
            for choice in SourceKind
        ]
        return super().add_view(request, form_url, {"kinds": kinds, **(extra_context or {})})

    # --- What is done

    def save_model(self, request: HttpRequest, obj: Source, form: Any, change: bool) -> None:
        who, now = str(user_of(request)), timezone.now()
        if change:
            super().save_model(request, obj, form, change)
            if form.is_for_another:
                services.give_to_bot(source=obj, bot_id=form.bot_id)
            if "text" in form.changed_data:
                services.change_text(source=obj, requested_by=who, now=now)
            elif "location" in form.changed_data:
                services.change_address(source=obj)
            elif "refresh_hours" in form.changed_data:
                services.change_interval(source=obj, now=now)
            return
        if obj.kind == SourceKind.FILE:
            file = form.cleaned_data["file"]
            added = services.add_file(
                business_id=obj.business_id,
                bot_id=obj.bot_id,
                name=file.name,
                content=file.read(),
                requested_by=who,
                now=now,
            )
            obj.__dict__.update(added.__dict__)
        else:
            services.add_source(source=obj, requested_by=who, now=now, train=obj.kind != SourceKind.QA)
        self.record(request, AuditAction.CREATED, obj)

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        for answer in formset.save(commit=False):
            answer.business_id = form.instance.business_id
            answer.approved_by_label = str(user_of(request))[:255]
            answer.save()
        for answer in formset.deleted_objects:
            answer.delete()
        formset.save_m2m()
        if formset.has_changed():
            services.train_answers(source=form.instance, requested_by=str(user_of(request)), now=timezone.now())

    def response_add(self, request: HttpRequest, obj: Source, post_url_continue: str | None = None) -> HttpResponse:
        """A set of answers is filled next; anything else is watched in the list."""
        if obj.kind == SourceKind.QA:
            messages.success(request, _now("Now add the questions, each with its answer."))
            return HttpResponseRedirect(reverse("admin:knowledge_source_change", args=[obj.pk]))
        return super().response_add(request, obj, post_url_continue)

    @button(description=_("Look at them again"), permissions=["change"])
    def look_again(self, request: HttpRequest, queryset: models.QuerySet[Source]) -> None:
        chosen = list(self.permitted(request, queryset, Right.MANAGE))
        number = services.train_again(chosen=chosen, requested_by=str(user_of(request)), now=timezone.now())
        for source in chosen:
            self.record(request, AuditAction.PERFORMED, source, {"act": "look_again"})
        text = ngettext("%d source is being looked at again.", "%d sources are being looked at again.", number)
        messages.success(request, text % number)

    @page_action(
        PageAction(
            label=_("Train now"),
            right=Right.MANAGE,
            icon="model_training",
            offered=lambda source: source.status not in {*IN_TRAINING, SourceStatus.PENDING},
        )
    )
    def train_now(self, request: HttpRequest, source: Source, words: str) -> str:
        services.train_again(chosen=[source], requested_by=str(user_of(request)), now=timezone.now())
        return _now("It is being trained; this page shows how far it is.")

    @page_action(
        PageAction(
            label=_("Delete"),
            right=Right.MANAGE,
            icon="delete",
            variant="danger",
            confirm=_("The bot forgets everything that it learnt from this, at once. The file is removed too."),
        )
    )
    def delete_it(self, request: HttpRequest, source: Source, words: str) -> str:
        self.record(request, AuditAction.DELETED, source)
        services.delete_source(
            business_id=source.business_id,
            source_id=source.pk,
            requested_by=str(user_of(request)),
            now=timezone.now(),
        )
        return _now("It was deleted, and the bot has forgotten it.")

    def page_url(self, row: models.Model) -> str:
        """After a deletion there is no page to go back to."""
        if Source.objects.filter(pk=row.pk).exists():
            return super().page_url(row)
        return reverse("admin:knowledge_source_changelist")

    # --- Columns

    @column(description=_("source"), ordering="title")
    def name(self, source: Source) -> SafeString:
        icon = ICONS.get(SourceKind(source.kind), "draft")
        return format_html(
            '<span class="mia-line"><span class="material-symbols-outlined" title="{}">{}</span>'
            '<span class="mia-clip">{}</span></span>',
            source.get_kind_display(),
            icon,
            source.title,
        )

    @column(description=_("status"), ordering="status")
    def progress(self, source: Source) -> SafeString:
        """Followed by sources.js while it moves."""
        told = state_of(source)
        return format_html(
            '<span data-source="{}" data-moving="{}"><span class="mia-chip" data-tone="{}">{}</span> '
            '<small class="mia-soft mia-words">{}</small></span>',
            source.pk,
            told["moving"] or "",
            told["tone"],
            told["label"],
            told["note"],
        )

    @column(description=_("chunks"), ordering="chunk_number")
    def chunk_count(self, source: Source) -> str:
        return phrases.count(getattr(source, "chunk_number", 0))

    @column(description=_("looked at"), ordering="checked_at")
    def looked_at(self, source: Source) -> str:
        return phrases.ago(source.checked_at, timezone.now())

    @column(description=_("next look"), ordering="next_refresh_at")
    def next_look(self, source: Source) -> str:
        if source.next_refresh_at is None:
            return str(_("when you ask")) if source.kind in FETCHED_KINDS else phrases.NOTHING
        left = source.next_refresh_at - timezone.now()
        return str(_("soon")) if left.total_seconds() < 60 else str(_("in %s") % phrases.span(left))

    @column(description=_("address"))
    def address(self, source: Source) -> SafeString:
        return format_html(
            '<a class="mia-link" href="{0}" target="_blank" rel="noopener noreferrer">{0}</a>', source.location
        )

    @column(description=_("file"))
    def file_name(self, source: Source) -> str:
        file = getattr(source, "file", None)
        return phrases.NOTHING if file is None else f"{file.name} ({file.content_type or file.get_status_display()})"

    # --- While it moves

    def progress_view(self, request: HttpRequest) -> JsonResponse:
        """How far the sources named by `ids` are, for pages that stay open."""
        ids = asked_ids(request.GET.get("ids", ""))
        rows = self.get_queryset(request).filter(pk__in=ids) if self.has_view_permission(request) else []
        told = {str(source.pk): {**state_of(source), "chunks": self.chunk_count(source)} for source in rows}
        return JsonResponse({"sources": told})


def kind_asked_for(request: HttpRequest) -> SourceKind:
    """The kind of source that the page is for; a page of the web when it says none, or nonsense."""
    asked = request.GET.get("kind", "")
    return SourceKind(asked) if asked in SourceKind.values else SourceKind.URL


def state_of(source: Source) -> dict[str, Any]:
    """What a page says of a source's state, in words."""
    status = SourceStatus(source.status)
    note = source.error
    if status == SourceStatus.TRAINING and source.progress_total:
        note = str(_("%(done)d of %(total)d") % {"done": source.progress_done, "total": source.progress_total})
    moving = status in {*IN_TRAINING}
    return {"label": str(status.label), "tone": TONES[status], "note": note, "moving": moving}


def asked_ids(text: str) -> Iterable[UUID]:
    for part in text.split(",")[:WATCHED_AT_ONCE]:
        try:
            yield UUID(part)
        except ValueError:
            continue
