"""The desk's addresses on the page of a conversation, and the pulse that keeps the list of conversations live."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.contrib import messages
from django.db import transaction
from django.db.models import Count, Max, Q
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.views.decorators.http import require_GET, require_POST

from accounts.forms import refusal_texts
from accounts.permissions import Right
from accounts.scoped_admin import user_of
from chats.choices import Status
from chats.desk import presence, services
from chats.models import Conversation, ConversationTag, Tag
from mia.lib.errors import ApplicationError, InvalidRequest

if TYPE_CHECKING:
    from accounts.admin_pages import PageModelAdmin

    DeskBase = PageModelAdmin[Conversation]
else:
    DeskBase = object

MOST_NOTES = 50


class DeskViews(DeskBase):
    """Notes, tags, canned replies, drafts, presence."""

    if TYPE_CHECKING:

        def _conversation(self, request: HttpRequest, object_id: str, right: Right) -> Conversation: ...

    def desk_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        views: list[tuple[str, Callable[..., HttpResponse], str]] = [
            ("<path:object_id>/note/", require_POST(self.note_view), "note"),
            ("<path:object_id>/tags/", require_POST(self.tags_view), "tags"),
            ("<path:object_id>/canned/", require_GET(self.canned_view), "canned"),
            ("<path:object_id>/draft/<uuid:job_id>/", require_GET(self.draft_view), "draft"),
            ("<path:object_id>/draft/", require_POST(self.ask_draft_view), "ask_draft"),
        ]
        pulse = path("pulse/", wrap(require_GET(self.pulse_view)), name="chats_conversation_pulse")
        return [pulse, *(path(route, wrap(view), name=f"chats_conversation_{name}") for route, view, name in views)]

    def desk_context(self, request: HttpRequest, conversation: Conversation) -> dict[str, Any]:
        """Six statements at most, however much there is."""
        worn = ConversationTag.objects.for_business(conversation.business_id).filter(conversation=conversation)
        earlier = Conversation.objects.for_business(conversation.business_id).exclude(pk=conversation.pk)
        by_mail = (
            earlier.filter(visitor_email=conversation.visitor_email) if conversation.visitor_email else earlier.none()
        )
        return {
            "notes": list(conversation.notes.select_related("author")[:MOST_NOTES]),
            "all_tags": list(Tag.objects.for_business(conversation.business_id)[:200]),
            "worn_tags": list(worn.select_related("tag")),
            "worn_tag_ids": set(worn.values_list("tag_id", flat=True)),
            "ownership_changes": list(conversation.ownership_changes.order_by("-id")[:20]),
            "earlier_conversations": list(by_mail.order_by("-last_message_at")[:5]),
            "is_asleep": conversation.snoozed_until is not None and conversation.snoozed_until > timezone.now(),
        }

    def note_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.WORK)
        text = request.POST.get("text", "")
        return self._done(
            request,
            conversation,
            lambda: services.write_note(
                conversation=conversation, author=user_of(request), text=text, now=timezone.now()
            ),
        )

    def tags_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.WORK)
        chosen = [int(value) for value in request.POST.getlist("tag") if value.isascii() and value.isdigit()][:100]
        return self._done(request, conversation, lambda: services.set_tags(conversation=conversation, tag_ids=chosen))

    def canned_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.WORK)
        replies = services.canned_replies(conversation=conversation, agent=user_of(request))
        return JsonResponse({"replies": replies}, headers={"Cache-Control": "private, no-store"})

    def ask_draft_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Has the AI write for the agent; 202 with where to look for it."""
        conversation = self._conversation(request, object_id, Right.WORK)
        try:
            with transaction.atomic():
                wish = _wish(request.POST.get("wish", ""))
                job = services.ask(conversation=conversation, agent=user_of(request), wish=wish, now=timezone.now())
        except ApplicationError as error:
            return HttpResponse(" ".join(refusal_texts(error)), status=error.status, content_type="text/plain")
        return JsonResponse({"job_id": str(job.pk)}, status=202)

    def draft_view(self, request: HttpRequest, object_id: str, job_id: UUID) -> HttpResponse:
        conversation = self._conversation(request, object_id, Right.WORK)
        try:
            draft = services.read(conversation=conversation, job_id=job_id)
        except ApplicationError as error:
            return HttpResponse(" ".join(refusal_texts(error)), status=error.status, content_type="text/plain")
        return JsonResponse({"is_over": draft.is_over, "text": draft.text}, headers={"Cache-Control": "no-store"})

    def pulse_view(self, request: HttpRequest) -> HttpResponse:
        """What changed in the lists this user may see, told by a few numbers. One statement."""
        found = Conversation.objects.visible_to(user_of(request)).aggregate(
            last=Max("last_message_at"),
            waiting=Count("pk", filter=Q(status=Status.WAITING)),
            asked=Max("handoff_requested_at"),
            resolved=Count("pk", filter=Q(status=Status.RESOLVED)),
        )
        version = "|".join(str(value) for value in found.values())
        return JsonResponse({"version": version, "waiting": found["waiting"]}, headers={"Cache-Control": "no-store"})

    def look(self, request: HttpRequest, conversation: Conversation, *, is_writing: bool = False) -> None:
        """Only those who may work are shown to the others."""
        if self.allows(request, Right.WORK, conversation):
            presence.look(conversation, user_of(request), is_writing=is_writing)

    def _done(self, request: HttpRequest, conversation: Conversation, act: Callable[[], object]) -> HttpResponse:
        """The page again, with what was refused."""
        try:
            with transaction.atomic():
                act()
        except ApplicationError as error:
            messages.error(request, " ".join(refusal_texts(error)))
        return HttpResponseRedirect(self.page_url(conversation))


def _wish(text: str) -> services.Wish:
    if text not in services.Wish.values:
        raise InvalidRequest({"wish": [str(_("Choose a draft or a summary."))]})
    return services.Wish(text)
