"""Tags and canned replies of a business."""

from __future__ import annotations

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from accounts.permissions import Right
from accounts.scoped_admin import TenantModelAdmin, column
from chats.admin_feedback import clipped
from chats.models import CannedReply, Tag


@admin.register(CannedReply)
class CannedReplyAdmin(TenantModelAdmin[CannedReply]):
    """Replies that are ready."""

    add_right = change_right = delete_right = Right.WORK
    list_display = ["shown_shortcut", "title", "words", "business", "updated_at"]
    list_filter = ["business"]
    list_select_related = ["business"]
    search_fields = ["shortcut", "title", "text"]
    fields = ["business", "shortcut", "title", "text"]
    empty_hint = _("Write down what you answer often. In a conversation, / and its shortcut put it in.")

    @column(description=_("shortcut"), ordering="shortcut")
    def shown_shortcut(self, reply: CannedReply) -> str:
        return f"/{reply.shortcut}"

    @column(description=_("reply"))
    def words(self, reply: CannedReply) -> str:
        return clipped(reply.text)


@admin.register(Tag)
class TagAdmin(TenantModelAdmin[Tag]):
    """Words by which conversations are sorted."""

    add_right = change_right = delete_right = Right.WORK
    list_display = ["shown_name", "business"]
    list_filter = ["business"]
    list_select_related = ["business"]
    search_fields = ["name"]
    fields = ["business", "name", "colour"]
    empty_hint = _("Make tags such as “refund” or “complaint” to sort conversations and find them again.")

    @column(description=_("name"), ordering="name", label=True)
    def shown_name(self, tag: Tag) -> tuple[str, str]:
        return tag.colour, tag.name
