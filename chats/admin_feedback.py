"""What visitors leave: contact details, thumbs and ratings. Read here, written by visitors only."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.scoped_admin import TenantModelAdmin, column
from chats.choices import Verdict
from chats.models import Conversation, Feedback, Lead, Rating
from mia.lib import phrases

SNIPPET_CHARS = 90


def conversation_link(conversation: Conversation) -> SafeString:
    address = reverse("admin:chats_conversation_change", args=[conversation.pk])
    return format_html('<a class="mia-link" href="{}">{}</a>', address, conversation)


def clipped(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SNIPPET_CHARS else f"{words[:SNIPPET_CHARS]}…"


class VisitorsWordsAdmin(TenantModelAdmin[Any]):
    """Rows that visitors wrote."""

    add_right = change_right = delete_right = None


@admin.register(Lead)
class LeadAdmin(VisitorsWordsAdmin):
    """Contact details."""

    list_display = ["who", "email", "phone", "note_shown", "talk", "business", "left"]
    list_filter = ["business", ("created_at", RangeDateTimeFilter)]
    list_select_related = ["conversation", "business"]
    search_fields = ["name", "email", "phone", "note"]
    fields = ["name", "email", "phone", "note", "talk", "created_at"]
    readonly_fields = ["talk"]
    empty_hint = _("When a visitor leaves an address or a number in the widget, it appears here.")

    @column(description=_("who"), ordering="name")
    def who(self, lead: Lead) -> str:
        return str(lead)

    @column(description=_("note"))
    def note_shown(self, lead: Lead) -> str:
        return clipped(lead.note)

    @column(description=_("conversation"))
    def talk(self, lead: Lead) -> SafeString:
        return conversation_link(lead.conversation)

    @column(description=_("left"), ordering="created_at")
    def left(self, lead: Lead) -> str:
        return phrases.ago(lead.created_at, timezone.now())


@admin.register(Feedback)
class FeedbackAdmin(VisitorsWordsAdmin):
    """Thumbs under answers."""

    list_display = ["shown_verdict", "answer", "reason_shown", "talk", "business", "given"]
    list_filter = [("verdict", ChoicesDropdownFilter), "business", ("updated_at", RangeDateTimeFilter)]
    list_select_related = ["message__conversation", "business"]
    search_fields = ["reason", "message__message"]
    fields = ["shown_verdict", "reason", "whole_answer", "talk", "created_at", "updated_at"]
    readonly_fields = ["shown_verdict", "whole_answer", "talk"]
    empty_hint = _("Visitors can say under each answer whether it helped. What they say appears here.")

    @column(
        description=_("verdict"), ordering="verdict", label={Verdict.POSITIVE: "success", Verdict.NEGATIVE: "danger"}
    )
    def shown_verdict(self, feedback: Feedback) -> tuple[str, str]:
        return feedback.verdict, feedback.get_verdict_display()

    @column(description=_("answer"))
    def answer(self, feedback: Feedback) -> str:
        return clipped(feedback.message.message)

    @column(description=_("answer"))
    def whole_answer(self, feedback: Feedback) -> str:
        return feedback.message.message

    @column(description=_("reason"))
    def reason_shown(self, feedback: Feedback) -> str:
        return clipped(feedback.reason)

    @column(description=_("conversation"))
    def talk(self, feedback: Feedback) -> SafeString:
        return conversation_link(feedback.message.conversation)

    @column(description=_("given"), ordering="updated_at")
    def given(self, feedback: Feedback) -> str:
        return phrases.ago(feedback.updated_at, timezone.now())


@admin.register(Rating)
class RatingAdmin(VisitorsWordsAdmin):
    """How satisfied visitors were with the whole conversation."""

    list_display = ["stars", "comment_shown", "talk", "business", "given"]
    list_filter = ["score", "business"]
    list_select_related = ["conversation", "business"]
    search_fields = ["comment"]
    fields = ["stars", "comment", "talk", "created_at"]
    readonly_fields = ["stars", "talk"]
    empty_hint = _("After a conversation visitors can rate it from one to five. Their ratings appear here.")

    @column(description=_("score"), ordering="score")
    def stars(self, rating: Rating) -> str:
        return "★" * rating.score + "☆" * (5 - rating.score)

    @column(description=_("comment"))
    def comment_shown(self, rating: Rating) -> str:
        return clipped(rating.comment)

    @column(description=_("conversation"))
    def talk(self, rating: Rating) -> SafeString:
        return conversation_link(rating.conversation)

    @column(description=_("given"), ordering="updated_at")
    def given(self, rating: Rating) -> str:
        return phrases.ago(rating.updated_at, timezone.now())
