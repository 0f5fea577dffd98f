"""Safety in the admin: the rules, what they did not let pass, and who is kept out."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.permissions import Right
from accounts.scoped_admin import TenantModelAdmin, column, user_of
from chats import blocking
from chats.admin_feedback import clipped, conversation_link
from chats.choices import GuardAction, GuardKind
from chats.models import GuardrailEvent, SafetyPolicy, VisitorBlock
from chats.safety_forms import SafetyPolicyForm
from mia.lib import phrases

KIND_COLOURS: Final = {
    GuardKind.INJECTION: "danger",
    GuardKind.EXTRACTION: "danger",
    GuardKind.LEAK: "danger",
    GuardKind.GUARDED: "warning",
    GuardKind.ABUSE: "warning",
    GuardKind.OFF_TOPIC: "info",
    GuardKind.UNTAUGHT: "default",
}


def is_in_force(found: VisitorBlock) -> bool:
    return found.lifted_at is None and (found.until is None or found.until > timezone.now())


FIELDSETS: Final[Any] = [
    (None, {"fields": ["business", "bot"]}),
    (
        _("Personal data"),
        {
            "fields": ["personal_data_trust", "names", "phone_region"],
            "description": _(
                "E-mail addresses, phone, card and account numbers and names are replaced before a miner reads "
                "them, and put back in the answer. You and your visitors see the real ones."
            ),
        },
    ),
    (
        _("What is refused"),
        {
            "fields": [
                ("blocks_injection", "blocks_abuse"),
                "off_topic",
                "topics",
                "guarded_texts",
                "refusal_text",
            ]
        },
    ),
    (
        _("How much"),
        {
            "fields": [
                ("session_per_minute", "session_per_day"),
                ("address_per_minute", "daily_messages"),
                ("strikes", "block_minutes"),
            ],
        },
    ),
]


@admin.register(SafetyPolicy)
class SafetyPolicyAdmin(TenantModelAdmin[SafetyPolicy]):
    """The rules of a business, and of bots that have their own."""

    form = SafetyPolicyForm
    list_display = ["holds_for", "business", "personal_data_trust", "off_topic", "daily_messages", "changed"]
    list_filter = ["business"]
    list_select_related = ["bot", "business"]
    search_fields = ["bot__name"]
    ordering = ["bot__name", "pk"]
    fieldsets = FIELDSETS
    empty_hint = _("Sensible rules hold already. Write down your own here: names to hide, topics, limits for a day.")

    @column(description=_("hold for"), ordering="bot__name")
    def holds_for(self, policy: SafetyPolicy) -> str:
        return str(policy)

    @column(description=_("changed"), ordering="updated_at")
    def changed(self, policy: SafetyPolicy) -> str:
        return phrases.ago(policy.updated_at, timezone.now())


@admin.register(GuardrailEvent)
class GuardrailEventAdmin(TenantModelAdmin[GuardrailEvent]):
    """What was not let pass; written by the platform only."""

    add_right = change_right = delete_right = None
    list_display = ["shown_kind", "shown_action", "words", "rule", "bot", "talk", "business", "when"]
    list_filter = [
        ("kind", ChoicesDropdownFilter),
        ("action", ChoicesDropdownFilter),
        "conversation__bot",
        "business",
        ("at", RangeDateTimeFilter),
    ]
    list_select_related = ["conversation__bot", "business"]
    list_before_template = "chats/admin/guardrail_counts.html"
    search_fields = ["excerpt", "rule"]
    fields = ["kind", "action", "rule", "excerpt", "talk", "at"]
    readonly_fields = ["talk"]
    empty_hint = _("Nothing had to be refused so far. Attacks, other topics and abuse will be listed here.")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        counted = self.get_queryset(request).order_by().values_list("kind").annotate(number=Count("pk"))
        numbers = dict(counted)
        counts = [
            {"title": kind.label, "link": f"?kind__exact={kind}", "count": numbers[kind]}
            for kind in GuardKind
            if kind in numbers
        ]
        return super().changelist_view(request, {**(extra_context or {}), "guardrail_counts": counts})

    @column(description=_("what"), ordering="kind", label=KIND_COLOURS)
    def shown_kind(self, event: GuardrailEvent) -> tuple[str, str]:
        return event.kind, event.get_kind_display()

    @column(description=_("done"), ordering="action")
    def shown_action(self, event: GuardrailEvent) -> str:
        return str(GuardAction(event.action).label)

    @column(description=_("words"))
    def words(self, event: GuardrailEvent) -> str:
        return clipped(event.excerpt)

    @column(description=_("bot"), ordering="conversation__bot__name")
    def bot(self, event: GuardrailEvent) -> str:
        return str(event.conversation.bot) if event.conversation is not None else "/v1"

    @column(description=_("conversation"))
    def talk(self, event: GuardrailEvent) -> str:
        return conversation_link(event.conversation) if event.conversation is not None else "–"

    @column(description=_("when"), ordering="at")
    def when(self, event: GuardrailEvent) -> str:
        return phrases.ago(event.at, timezone.now())


@admin.register(VisitorBlock)
class VisitorBlockAdmin(ActionsModelAdmin[VisitorBlock]):
    """Who is kept out, since when and why; made on the page of a conversation."""

    add_right = change_right = delete_right = None
    list_display = ["state", "reason", "by", "talk", "business", "since", "ends"]
    list_filter = ["business", ("created_at", RangeDateTimeFilter)]
    list_select_related = ["conversation", "business"]
    search_fields = ["reason", "blocked_by"]
    fields = ["reason", "by", "talk", "created_at", "until", "lifted_at"]
    readonly_fields = ["by", "talk"]
    change_form_template = "parts/change_form_with_actions.html"
    page_actions = ("lift",)
    empty_hint = _("Nobody is kept out. You can block a visitor on the page of a conversation.")

    @page_action(
        PageAction(
            _("Let them write again"),
            right=Right.WORK,
            icon="lock_open",
            variant="primary",
            offered=is_in_force,
        )
    )
    def lift(self, request: HttpRequest, found: VisitorBlock, words: str) -> str:
        blocking.lift(found, actor=user_of(request), now=timezone.now())
        return str(_("This visitor can write again."))

    @column(description=_("state"), label={"on": "danger", "over": "default"})
    def state(self, found: VisitorBlock) -> tuple[str, str]:
        return ("on", str(_("Kept out"))) if is_in_force(found) else ("over", str(_("Over")))

    @column(description=_("by"), ordering="blocked_by")
    def by(self, found: VisitorBlock) -> str:
        return found.blocked_by or str(_("the platform"))

    @column(description=_("conversation"))
    def talk(self, found: VisitorBlock) -> SafeString:
        return conversation_link(found.conversation)

    @column(description=_("since"), ordering="created_at")
    def since(self, found: VisitorBlock) -> str:
        return phrases.ago(found.created_at, timezone.now())

    @column(description=_("until"), ordering="until")
    def ends(self, found: VisitorBlock) -> str:
        if found.until is None:
            return str(_("lifted by hand"))
        return (
            phrases.ago(found.until, timezone.now()) if found.until < timezone.now() else f"{found.until:%d.%m. %H:%M}"
        )
