"""How bots answer, in the admin: versions of the settings, the receipts of answers, and the playground."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _now
from django.utils.translation import gettext_lazy as _
from unfold.contrib.filters.admin import ChoicesDropdownFilter, RangeDateTimeFilter
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from accounts.admin_pages import ActionsModelAdmin, PageAction, page_action
from accounts.choices import AuditAction
from accounts.permissions import Right, has_right
from accounts.scoped_admin import column, user_of
from knowledge import configs, receipts, test_sets
from knowledge.admin_documents import ReadOnlyAdmin
from knowledge.admin_names import NamedRowsMixin
from knowledge.bots import names_of_bots
from knowledge.choices import VersionState
from knowledge.forms import TextsField, language_name
from knowledge.models import EmbeddingVersion, ModelConfigVersion, RetrievalLog
from knowledge.playground import playground_page
from mia.lib import phrases
from mia.lib.errors import InvalidRequest

STATE_LABELS = {
    "draft": "default",
    "training": "info",
    "active": "success",
    "failed": "danger",
    "deprecated": "default",
}


def is_draft(config: ModelConfigVersion) -> bool:
    return config.state == VersionState.DRAFT


class BotForm(forms.ModelForm[Any]):
    """A row of a bot: whose, is chosen once, among the bots that the user manages."""

    choices: dict[int, tuple[int, str]] = {}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk is None:
            names = [(pk, name) for pk, (_owner, name) in self.choices.items()]
            self.fields["bot"] = forms.TypedChoiceField(
                label=_("Bot"), choices=names, coerce=int, widget=UnfoldAdminSelectWidget
            )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.instance.pk is None and data.get("bot") in self.choices:
            self.instance.bot_id = data["bot"]
            self.instance.business_id = self.choices[data["bot"]][0]
        return data


class BotRowsAdmin(NamedRowsMixin, ActionsModelAdmin[Any]):
    """Rows of bots, which name their bot by its id alone."""

    business_path = "business_id"
    form = BotForm
    change_form_template = "parts/change_form_with_actions.html"
    own_fields: tuple[Any, ...] = ()

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        if obj is None:
            kwargs["fields"] = [name for name in self._names() if name not in self.get_readonly_fields(request)]
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"choices": self.managed_bots(request)})

    def managed_bots(self, request: HttpRequest) -> dict[int, tuple[int, str]]:
        user = user_of(request)
        bots = names_of_bots()
        return {pk: (owner, name) for pk, (owner, name) in bots.items() if has_right(user, Right.MANAGE, owner)}

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        return [(None, {"fields": ["bot" if obj is None else "whom", *self.own_fields]})]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return [*super().get_readonly_fields(request, obj), *([] if obj is None else ["whom"])]

    def _names(self) -> list[str]:
        return [name for line in self.own_fields for name in (line if isinstance(line, tuple) else (line,))]


class ConfigForm(BotForm):
    """How a bot retrieves and answers."""

    refusal_texts = TextsField(
        label=_("In other languages"),
        help_text=_("Said to visitors who write in that language. Without one, the words above, or ours in grey."),
    )

    class Meta:
        model = ModelConfigVersion
        fields = [
            "retrieval_k", "threshold", "fusion", "rerank", "only_with_evidence",
            "refusal_text", "refusal_texts", "note",
        ]  # fmt: skip
        widgets = {"refusal_text": UnfoldAdminTextareaWidget(attrs={"rows": 2})}


@admin.register(ModelConfigVersion)
class ModelConfigVersionAdmin(BotRowsAdmin):
    """Versions of how bots answer: a draft is tried in the playground, tested, and published."""

    form = ConfigForm
    delete_right = None
    own_fields = (
        ("retrieval_k", "threshold"), "fusion", "rerank", "only_with_evidence", "refusal_text", "refusal_texts", "note",
    )  # fmt: skip
    list_display = [
        "named",
        "state_shown",
        "whom",
        "business",
        "note",
        "created_by_label",
        "created_at",
        "activated_at",
    ]
    list_filter = [("state", ChoicesDropdownFilter), ("created_at", RangeDateTimeFilter)]
    search_fields = ["note", "created_by_label"]
    ordering = ["-created_at"]
    page_actions = ("publish_it", "publish_anyway", "copy_it")
    empty_hint = _(
        "Every bot answers by our defaults until you make settings for it. Each change is kept as a version."
    )

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.playground_view)
        return [path("playground/", view, name="knowledge_playground"), *super().get_urls()]

    def playground_view(self, request: HttpRequest) -> HttpResponse:
        return playground_page(request, self.admin_site)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """What is or was in use stays as it was."""
        frozen = [] if obj is None or is_draft(obj) else self._names()
        frozen = ["texts_shown" if name == "refusal_texts" else name for name in frozen]
        return [*super().get_readonly_fields(request, obj), *frozen]

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        frozen = obj is not None and not is_draft(obj)
        shown = ["texts_shown" if frozen and name == "refusal_texts" else name for name in self.own_fields]
        return [(None, {"fields": ["bot" if obj is None else "whom", *shown]})]

    @column(description=_("in other languages"))
    def texts_shown(self, config: ModelConfigVersion) -> str:
        lines = [(language_name(code), text) for code, text in (config.refusal_texts or {}).items()]
        return format_html_join("", "<div>{}: {}</div>", lines) or "–"

    def save_model(self, request: HttpRequest, obj: ModelConfigVersion, form: Any, change: bool) -> None:
        if not change:
            obj.number = configs.next_number(business_id=obj.business_id, bot_id=obj.bot_id)
            obj.created_by_id, obj.created_by_label = user_of(request).pk, str(user_of(request))[:255]
        super().save_model(request, obj, form, change)

    @column(description=_("version"), ordering="number")
    def named(self, config: ModelConfigVersion) -> str:
        return f"{config.number}"

    @column(description=_("state"), ordering="state", label=STATE_LABELS)
    def state_shown(self, config: ModelConfigVersion) -> tuple[str, str]:
        return config.state, str(config.get_state_display())

    @page_action(
        PageAction(label=_("Test and publish"), right=Right.MANAGE, icon="publish", variant="primary", offered=is_draft)
    )
    def publish_it(self, request: HttpRequest, config: ModelConfigVersion, words: str) -> str:
        return self._publish(request, config, "")

    @page_action(
        PageAction(
            label=_("Publish in spite of failing tests"),
            right=Right.MANAGE,
            icon="warning",
            variant="danger",
            asks=_("Why? This is put on record."),
            offered=is_draft,
        )
    )
    def publish_anyway(self, request: HttpRequest, config: ModelConfigVersion, words: str) -> str:
        if not words:
            raise InvalidRequest("Say why it is published although its tests fail.")
        return self._publish(request, config, words)

    def _publish(self, request: HttpRequest, config: ModelConfigVersion, reason: str) -> str:
        who = str(user_of(request))
        verdict = test_sets.publish(config=config, override_reason=reason, published_by=who, now=timezone.now())
        if not verdict.is_published:
            messages.error(request, _now("Not published, its tests fail. ") + verdict.complaint)
            return _now("The runs are kept among the test runs.")
        if verdict.is_overridden:
            self.record(request, AuditAction.PERFORMED, config, {"published in spite of": verdict.complaint})
            return _now("Published in spite of failing tests.")
        return _now("Published; visitors get answers by it within seconds.")

    @page_action(PageAction(label=_("New draft from this"), right=Right.MANAGE, icon="content_copy"))
    def copy_it(self, request: HttpRequest, config: ModelConfigVersion, words: str) -> str:
        user = user_of(request)
        made = configs.copy_of(config, user_label=str(user), user_id=user.pk, now=timezone.now())
        return _now("Draft %d was made.") % made.number


@admin.register(RetrievalLog)
class RetrievalLogAdmin(NamedRowsMixin, ActionsModelAdmin[RetrievalLog]):
    """Receipts of answers: what was searched for, what was found, and who wrote what of it."""

    business_path = "business_id"
    add_right = change_right = delete_right = None
    change_form_template = "parts/change_form_with_actions.html"
    list_display = ["query_shown", "came_to", "evidence_shown", "whom", "business", "language", "took", "created_at"]
    list_filter = [("outcome", ChoicesDropdownFilter), ("created_at", RangeDateTimeFilter)]
    search_fields = ["query", "rewritten_query"]
    ordering = ["-created_at"]
    show_full_result_count = False
    fields = [
        "query", "rewritten_query", "outcome", "evidence_shown", "whom", "language", "model", "miner_name", "fusion",
        "embedding_version", "model_config", "prompt_hash", "took", "created_at", "found",
    ]  # fmt: skip
    readonly_fields = ["evidence_shown", "whom", "took", "found"]
    page_actions = ("replay_it",)
    empty_hint = _("Each answer of a bot that was taught something leaves a receipt here.")

    @column(description=_("question"), ordering="query")
    def query_shown(self, log: RetrievalLog) -> SafeString:
        return format_html('<span class="mia-clip">{}</span>', " ".join(log.query.split())[:120])

    @column(
        description=_("outcome"),
        ordering="outcome",
        label={"answered": "success", "curated": "success", "refused": "danger"},
    )
    def came_to(self, log: RetrievalLog) -> tuple[str, str]:
        return log.outcome, str(log.get_outcome_display())

    @column(description=_("evidence"), ordering="evidence")
    def evidence_shown(self, log: RetrievalLog) -> str:
        if log.evidence is None:
            return phrases.NOTHING
        return f"{log.evidence:.2f} / {log.threshold or 0:.2f}"

    @column(description=_("searched in"))
    def took(self, log: RetrievalLog) -> str:
        return f"{sum(log.timings.values()):.0f} ms" if log.timings else phrases.NOTHING

    @column(description=_("what was found"))
    def found(self, log: RetrievalLog) -> str:
        texts = receipts.texts_of(log)
        passages = [{**note, "text": texts.get(note["chunk_id"], "")} for note in log.passages]
        return render_to_string("knowledge/admin/passages.html", {"passages": passages})

    @page_action(PageAction(label=_("Search again"), right=Right.READ, icon="replay"))
    def replay_it(self, request: HttpRequest, log: RetrievalLog, words: str) -> str:
        again = receipts.replay(log)
        if again is None:
            return _now("The bot knows nothing any more.")
        if again.is_same:
            return _now("The same chunks are found today, in the same order.")
        kept = len(set(again.now) & set(again.before))
        return _now("Today %(now)d chunks are found, %(kept)d of which were found then.") % {
            "now": len(again.now),
            "kept": kept,
        }


@admin.register(EmbeddingVersion)
class EmbeddingVersionAdmin(ReadOnlyAdmin):
    """With which models the words of a business were embedded; one is searched at a time."""

    list_display = [
        "__str__",
        "state_shown",
        "business",
        "dimensions",
        "vectors",
        "threshold",
        "has_index",
        "created_at",
    ]
    list_filter = [("state", ChoicesDropdownFilter)]
    ordering = ["-created_at"]
    fields = [
        "provider", "model", "version", "dimensions", "prefix", "query_prefix", "chunker_version", "state",
        "threshold", "calibrated_at", "has_index", "error", "created_at", "activated_at",
    ]  # fmt: skip
    empty_hint = _("The first training makes the first version.")

    def get_queryset(self, request: HttpRequest) -> models.QuerySet[Any]:
        counted: models.QuerySet[Any] = super().get_queryset(request).annotate(vector_count=models.Count("embeddings"))
        return counted

    @column(description=_("state"), ordering="state", label=STATE_LABELS)
    def state_shown(self, version: EmbeddingVersion) -> tuple[str, str]:
        return version.state, str(version.get_state_display())

    @column(description=_("vectors"), ordering="vector_count")
    def vectors(self, version: EmbeddingVersion) -> str:
        return phrases.count(getattr(version, "vector_count", 0))
