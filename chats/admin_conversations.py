"""Conversations in the admin: an inbox, a transcript that follows the talk, and what staff do with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.db.models import Count, Exists, OuterRef, Q, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET, require_POST
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.admin_pages import PageAction, PageModelAdmin, page_action
from accounts.choices import AuditAction
from accounts.forms import refusal_texts
from accounts.permissions import Right
from accounts.scoped_admin import button, column, user_of
from chats import blocking, inbox
from chats.choices import Mode, Role, Status
from chats.desk import presence, services
from chats.desk.views import DeskViews
from chats.events import announce_typing
from chats.models import ChatLog, Conversation, ConversationTag, Tag
from chats.transcripts import Transcript, as_text, read_transcript
from mia.lib import phrases
from mia.lib.errors import ApplicationError
from miners.models import Job

MODE_COLOURS: Final = {Mode.AI: "info", Mode.HUMAN: "warning"}
STATUS_COLOURS: Final = {Status.OPEN: "success", Status.WAITING: "danger", Status.RESOLVED: "default"}
EXPORTED_AT_ONCE: Final = 200
Conversations = models.QuerySet[Conversation]


class AssigneeFilter(admin.SimpleListFilter):
    """Mine, and those nobody looks after."""

    title = _("assigned")
    parameter_name = "assigned"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("me", _("To me")), ("nobody", _("To nobody")), ("somebody", _("To somebody"))]

    def queryset(self, request: HttpRequest, queryset: Conversations) -> Conversations:
        match self.value():
            case "me":
                return queryset.filter(assignee=user_of(request))
            case "nobody":
                return queryset.filter(assignee=None)
            case "somebody":
                return queryset.exclude(assignee=None)
        return queryset


class SleepFilter(admin.SimpleListFilter):
    """Those put to sleep are out of sight unless asked for."""

    title = _("asleep")
    parameter_name = "asleep"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [("yes", _("Asleep")), ("any", _("Asleep or not"))]

    def queryset(self, request: HttpRequest, queryset: Conversations) -> Conversations:
        asleep = Q(snoozed_until__gt=timezone.now())
        if self.value() == "any":
            return queryset
        return queryset.filter(asleep) if self.value() == "yes" else queryset.exclude(asleep)


class TagFilter(admin.SimpleListFilter):
    """By a tag of the user's own businesses."""

    title = _("tag")
    parameter_name = "tag"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, Any]]:
        return [(str(tag.pk), tag.name) for tag in Tag.objects.visible_to(user_of(request))[:200]]

    def queryset(self, request: HttpRequest, queryset: Conversations) -> Conversations:
        chosen = self.value() or ""
        if not (chosen.isascii() and chosen.isdigit() and len(chosen) <= 18):
            return queryset
        return queryset.filter(pk__in=ConversationTag.objects.filter(tag=int(chosen)).values("conversation"))


def is_asleep(conversation: Conversation) -> bool:
    return conversation.snoozed_until is not None and conversation.snoozed_until > timezone.now()


def is_mode(mode: Mode) -> Callable[[Any], bool]:
    return lambda conversation: conversation.mode == mode


@admin.register(Conversation)
class ConversationAdmin(DeskViews, PageModelAdmin[Conversation]):
    """The inbox."""

    page_template = "chats/admin/conversation.html"
    list_display = ["visitor", "words", "shown_status", "shown_mode", "assignee", "message_total", "last_words_at"]
    list_filter = [
        ("status", ChoicesDropdownFilter),
        ("mode", ChoicesDropdownFilter),
        ("channel", ChoicesDropdownFilter),
        AssigneeFilter,
        SleepFilter,
        TagFilter,
        "bot",
        "business",
        ("created_at", RangeDateTimeFilter),
    ]
    list_select_related = ["bot", "assignee", "business"]
    list_per_page = 50
    show_full_result_count = False
    list_before_template = "chats/admin/inbox_tabs.html"
    search_fields = ["snippet", "visitor_name", "visitor_email"]
    search_help_text = _("A visitor's name or address, or anything that was said.")
    ordering = ["-last_message_at", "-pk"]
    actions = ["assign_selected", "resolve_selected", "export_selected"]
    page_actions = ("take_over", "hand_back", "assign_to_me", "resolve", "reopen", "nap", "wake", "block", "unblock")
    empty_hint = _(
        "Nobody has asked anything yet. Put the widget on your website: the snippet is on the page of your bot."
    )

    # --- The list

    def get_queryset(self, request: HttpRequest) -> Conversations:
        logs = ChatLog.objects.filter(conversation=OuterRef("pk")).order_by().values("conversation")
        counted = Coalesce(Subquery(logs.annotate(number=Count("pk")).values("number")), 0)
        return super().get_queryset(request).select_related("bot", "business", "assignee").annotate(log_count=counted)

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet[Any], search_term: str
    ) -> tuple[models.QuerySet[Any], bool]:
        term = search_term.replace("\x00", "").strip()
        if not term:
            return queryset, False
        said = ChatLog.objects.filter(conversation=OuterRef("pk"), message__icontains=term)
        who = Q(visitor_name__icontains=term) | Q(visitor_email__icontains=term) | Q(snippet__icontains=term)
        return queryset.filter(who | Q(external_id=term) | _has_id(term) | Exists(said)), False

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        counts = dict(super().get_queryset(request).order_by().values_list("status").annotate(number=Count("pk")))
        mine = super().get_queryset(request).filter(assignee=user_of(request)).exclude(status=Status.RESOLVED).count()
        everything = super().get_queryset(request)
        unassigned = everything.filter(assignee=None, status=Status.OPEN).count()
        asleep = everything.filter(snoozed_until__gt=timezone.now()).count()
        tabs = [
            (_("Waiting for a human"), f"?status__exact={Status.WAITING}", counts.get(Status.WAITING, 0)),
            (_("Open"), f"?status__exact={Status.OPEN}", counts.get(Status.OPEN, 0)),
            (_("Mine"), "?assigned=me", mine),
            (_("Unassigned"), f"?assigned=nobody&status__exact={Status.OPEN}", unassigned),
            (_("Asleep"), "?asleep=yes", asleep),
            (_("Resolved"), f"?status__exact={Status.RESOLVED}", counts.get(Status.RESOLVED, 0)),
            (_("All"), "?", sum(counts.values())),
        ]
        chosen = f"?{request.GET.urlencode()}"
        inbox_tabs = [
            {"title": title, "link": link, "count": count, "is_chosen": link == chosen} for title, link, count in tabs
        ]
        return super().changelist_view(request, {**(extra_context or {}), "inbox_tabs": inbox_tabs})

    @column(description=_("visitor"), ordering="visitor_name", header=True)
    def visitor(self, conversation: Conversation) -> list[str]:
        name = conversation.visitor_name or conversation.visitor_email or str(_("Visitor"))
        second = conversation.visitor_email if conversation.visitor_name else str(conversation.public_id)[:8]
        return [name, second, name[:1]]

    @column(description=_("last words"), header=True)
    def words(self, conversation: Conversation) -> list[str]:
        snippet = format_html('<span class="mia-cell" title="{0}">{0}</span>', conversation.snippet or phrases.NOTHING)
        return [snippet, f"{conversation.bot} · {conversation.business}"]

    @column(description=_("status"), ordering="status", label=STATUS_COLOURS)
    def shown_status(self, conversation: Conversation) -> tuple[str, str]:
        short = _("Waiting") if conversation.status == Status.WAITING else conversation.get_status_display()
        return conversation.status, str(short)

    @column(description=_("answered by"), ordering="mode", label=MODE_COLOURS)
    def shown_mode(self, conversation: Conversation) -> tuple[str, str]:
        return conversation.mode, conversation.get_mode_display()

    @column(description=_("messages"), ordering="log_count")
    def message_total(self, conversation: Conversation) -> int:
        return int(getattr(conversation, "log_count", 0))

    @column(description=_("last message"), ordering="last_message_at")
    def last_words_at(self, conversation: Conversation) -> str:
        return phrases.ago(conversation.last_message_at, timezone.now())

    # --- The page

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        return [
            *self.desk_urls(),
            path("of-job/<uuid:job_id>/", wrap(require_GET(self.of_job_view)), name="chats_conversation_of_job"),
            path(
                "<path:object_id>/transcript/",
                wrap(require_GET(self.transcript_view)),
                name="chats_conversation_transcript",
            ),
            path("<path:object_id>/say/", wrap(require_POST(self.say_view)), name="chats_conversation_say"),
            path("<path:object_id>/typing/", wrap(require_POST(self.typing_view)), name="chats_conversation_typing"),
            path("<path:object_id>/export/", wrap(require_GET(self.export_view)), name="chats_conversation_export"),
            *super().get_urls(),
        ]

    def page_context(self, request: HttpRequest, row: Conversation) -> dict[str, Any]:
        everything = "all" in request.GET
        self.look(request, row)
        return {
            **self.desk_context(request, row),
            **self._shown(request, row, read_transcript(row, everything=everything)),
            "everything": everything,
        }

    def transcript_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The parts of the page that change as people talk; 304 while nothing did."""
        conversation = self._conversation(request, object_id, Right.READ)
        self.look(request, conversation)
        transcript = read_transcript(conversation, everything="all" in request.GET)
        others = presence.colleagues(conversation, user_of(request))
        etag = f'"{transcript.etag.strip(chr(34))}.{hash(tuple(others)) & 0xFFFF:x}"'
        headers = {"ETag": etag, "Cache-Control": "private, no-cache"}
        if request.headers.get("If-None-Match") == etag:
            return HttpResponse(status=304, headers=headers)
        context = {
            "original": conversation,
            "page_actions": self.offered_actions(request, conversation),
            "page_action_base": "admin:chats_conversation_act",
            **self._shown(request, conversation, transcript),
        }
        return TemplateResponse(request, "chats/admin/transcript.html", context, headers=headers)

    def say_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """An agent's words: for the page's script 204 or the reason why not, for a plain form the page again."""
        conversation = self._conversation(request, object_id, Right.WORK)
        is_script = request.headers.get("X-Requested-With") == "fetch"
        try:
            with transaction.atomic():
                inbox.say(
                    conversation=conversation,
                    agent=user_of(request),
                    message=request.POST.get("message", ""),
                    now=timezone.now(),
                )
        except ApplicationError as error:
            refusal = " ".join(refusal_texts(error))
            if is_script:
                return HttpResponse(refusal, status=error.status, content_type="text/plain; charset=utf-8")
            messages.error(request, refusal)
        return HttpResponse(status=204) if is_script else HttpResponseRedirect(self.page_url(conversation))

    def typing_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.WORK)
        self.look(request, conversation, is_writing=True)
        if conversation.mode == Mode.HUMAN:
            announce_typing(conversation, Role.AGENT)
        return HttpResponse(status=204)

    def export_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.READ)
        return text_file([conversation], f"conversation-{str(conversation.public_id)[:8]}.txt")

    def of_job_view(self, request: HttpRequest, job_id: UUID) -> HttpResponse:
        """The conversation that a job belongs to."""
        job = Job.objects.filter(pk=job_id, business__isnull=False).only("topic", "business_id").first()
        if job is None:
            raise Http404
        conversation = Conversation.objects.for_business(job.business_id).on_topic(job.topic).first()
        if conversation is None or not self.has_view_permission(request, conversation):
            raise Http404
        return HttpResponseRedirect(self.page_url(conversation))

    def _conversation(self, request: HttpRequest, object_id: str, right: Right) -> Conversation:
        conversation = self.get_object(request, object_id)
        if conversation is None or not self.has_view_permission(request, conversation):
            raise Http404
        if not self.allows(request, right, conversation):
            raise PermissionDenied
        return conversation

    def _shown(self, request: HttpRequest, conversation: Conversation, transcript: Transcript) -> dict[str, Any]:
        others = presence.colleagues(conversation, user_of(request))
        return {
            "transcript": transcript,
            "others": others,
            "state_version": f"{transcript.state_version}.{[(one.name, one.is_writing) for one in others]}",
            "may_work": self.allows(request, Right.WORK, conversation),
            "is_platform_staff": user_of(request).is_superuser,
            "status_tone": {"open": "good", "waiting": "bad"}.get(conversation.status, ""),
        }

    # --- Acts on one conversation

    @page_action(PageAction(_("Take over"), icon="support_agent", variant="primary", offered=is_mode(Mode.AI)))
    def take_over(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        inbox.take_over(conversation=conversation, agent=user_of(request), now=timezone.now())
        return str(_("You answer this visitor now."))

    @page_action(PageAction(_("Hand back to the AI"), icon="smart_toy", variant="primary", offered=is_mode(Mode.HUMAN)))
    def hand_back(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        inbox.hand_back(conversation=conversation, agent=user_of(request), now=timezone.now())
        return str(_("The AI answers again."))

    @page_action(
        PageAction(_("Assign to me"), icon="person_check", offered=lambda talk: talk.status != Status.RESOLVED)
    )
    def assign_to_me(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        inbox.assign(conversation=conversation, agent=user_of(request), now=timezone.now())
        return str(_("You are in charge of this conversation."))

    @page_action(PageAction(_("Resolve"), icon="task_alt", offered=lambda talk: talk.status != Status.RESOLVED))
    def resolve(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        inbox.resolve(conversation=conversation, agent=user_of(request), now=timezone.now())
        return str(_("Resolved. A new message of the visitor opens it again."))

    @page_action(PageAction(_("Open again"), icon="undo", offered=lambda talk: talk.status == Status.RESOLVED))
    def reopen(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        inbox.reopen(conversation=conversation, agent=user_of(request), now=timezone.now())
        return str(_("The conversation is open again."))

    @page_action(
        PageAction(
            _("Put to sleep"),
            icon="snooze",
            confirm=_("Out of the lists for a day, or until the visitor writes."),
            offered=lambda talk: talk.status != Status.RESOLVED and not is_asleep(talk),
        )
    )
    def nap(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        services.snooze(conversation=conversation, nap="day", now=timezone.now())
        return str(_("Asleep for a day, or until the visitor writes."))

    @page_action(PageAction(_("Wake up"), icon="alarm", offered=is_asleep))
    def wake(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        services.wake(conversation=conversation)
        return str(_("Back in the lists."))

    @page_action(
        PageAction(
            _("Block the visitor"),
            icon="block",
            asks=_("Why? Only your team reads it."),
            offered=lambda talk: not blocking.is_blocked(talk, timezone.now()),
        )
    )
    def block(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        blocking.block_by_staff(conversation, reason=words, agent=user_of(request), now=timezone.now())
        return str(_("This visitor can no longer write, in any session from the same address, until you lift it."))

    @page_action(
        PageAction(
            _("Unblock the visitor"),
            icon="lock_open",
            offered=lambda talk: blocking.is_blocked(talk, timezone.now()),
        )
    )
    def unblock(self, request: HttpRequest, conversation: Conversation, words: str) -> str:
        blocking.lift_all(conversation, actor=user_of(request), now=timezone.now())
        return str(_("This visitor can write again."))

    # --- Acts on several

    def has_work_permission(self, request: HttpRequest) -> bool:
        """For the bulk actions; each row is looked at again."""
        return self.allows(request, Right.WORK)

    @button(description=_("Assign to me"), permissions=["work"])
    def assign_selected(self, request: HttpRequest, queryset: Conversations) -> None:
        chosen = list(self.permitted(request, queryset, Right.WORK))
        for conversation in chosen:
            inbox.assign(conversation=conversation, agent=user_of(request), now=timezone.now())
            self.record(request, AuditAction.PERFORMED, conversation, {"act": "assign_to_me"})
        text = ngettext("You are in charge of %d conversation.", "You are in charge of %d conversations.", len(chosen))
        messages.success(request, text % len(chosen))

    @button(description=_("Resolve"), permissions=["work"])
    def resolve_selected(self, request: HttpRequest, queryset: Conversations) -> None:
        chosen = list(self.permitted(request, queryset, Right.WORK).exclude(status=Status.RESOLVED))
        for conversation in chosen:
            inbox.resolve(conversation=conversation, agent=user_of(request), now=timezone.now())
            self.record(request, AuditAction.PERFORMED, conversation, {"act": "resolve"})
        text = ngettext("%d conversation is resolved.", "%d conversations are resolved.", len(chosen))
        messages.success(request, text % len(chosen))

    @button(description=_("Export the transcripts as text"), permissions=["view"])
    def export_selected(self, request: HttpRequest, queryset: Conversations) -> HttpResponse:
        return text_file(list(queryset[:EXPORTED_AT_ONCE]), "conversations.txt")


def text_file(conversations: list[Conversation], name: str) -> HttpResponse:
    """The transcripts, one after the other, to be saved; two queries."""
    logs: dict[int, list[ChatLog]] = {conversation.pk: [] for conversation in conversations}
    for log in ChatLog.objects.filter(conversation__in=list(logs)).select_related("author").order_by("id"):
        logs[log.conversation_id].append(log)
    text = f"\n{'-' * 72}\n\n".join(as_text(conversation, logs[conversation.pk]) for conversation in conversations)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return HttpResponse(text, content_type="text/plain; charset=utf-8", headers=headers)


def _has_id(term: str) -> Q:
    try:
        return Q(public_id=UUID(term))
    except ValueError:
        return Q(pk__in=[])
