"""The form that makes a bot."""

from __future__ import annotations

import re
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminColorInputWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from chats.models import Bot
from chats.prompt_tests import PROMPT_FIELDS, judge_change
from knowledge.prompt_gate import PromptVerdict

LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*", re.ASCII)
MAX_LANGUAGES: Final = 20
SHORTEST_REASON: Final = 3


class LanguagesField(forms.CharField):
    """Language codes, separated by commas or spaces."""

    widget = UnfoldAdminTextInputWidget(attrs={"placeholder": "en, de, fr", "spellcheck": "false"})

    def prepare_value(self, value: Any) -> Any:
        return ", ".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return list(dict.fromkeys(code for code in re.split(r"[\s,;]+", value or "") if code))

    def validate(self, value: Any) -> None:
        super().validate(value)
        wrong = [code for code in value if not LANGUAGE.fullmatch(code)]
        if wrong:
            raise ValidationError(_("%(code)s is no language code such as en or pt-BR."), params={"code": wrong[0]})
        if len(value) > MAX_LANGUAGES:
            raise ValidationError(_("Name %(most)s languages at most."), params={"most": MAX_LANGUAGES})

    def run_validators(self, value: Any) -> None:
        """Each code is checked in `validate`; what checks texts has nothing to say about a list."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class BotForm(forms.ModelForm[Bot]):
    """A bot."""

    languages = LanguagesField(
        label=_("Languages"),
        required=False,
        help_text=_("Codes separated by commas, such as en, de, fr. Empty: whatever the visitor writes in."),
    )

    override_reason = forms.CharField(
        label=_("Save in spite of failing tests, because"),
        required=False,
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("Only where tests fail: the reason is put on record."),
    )
    verdict: PromptVerdict | None = None

    class Meta:
        model = Bot
        fields = [
            "business",
            "name",
            "role",
            "tone",
            "languages",
            "first_message",
            "confirmation_message",
            "business_description",
            "instructions",
            "model",
            "max_tokens",
            "temperature",
            "max_context_tokens",
            "title",
            "color",
            "position",
            "widget_key",
            "is_default",
            "is_active",
        ]
        widgets = {
            "business_description": UnfoldAdminTextareaWidget(attrs={"rows": 16, "data-counted": "facts"}),
            "instructions": UnfoldAdminTextareaWidget(attrs={"rows": 5, "data-counted": "words"}),
            "first_message": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "confirmation_message": UnfoldAdminTextareaWidget(attrs={"rows": 2}),
            "color": UnfoldAdminColorInputWidget(attrs={"type": "color"}),
        }

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        key, business = data.get("widget_key"), data.get("business")
        if key and business and key.business_id != business.pk:
            self.add_error("widget_key", _("This key belongs to another business."))
        if self.instance.pk and not self.errors and PROMPT_FIELDS.intersection(self.changed_data):
            self._check_tests(data)
        return data

    def _check_tests(self, data: dict[str, Any]) -> None:
        """What a model is told is changed only if the bot's test questions are answered still, or for a reason."""
        self.verdict = judge_change(self.instance, data, now=timezone.now())
        if not self.verdict.passes and len(data.get("override_reason", "").strip()) < SHORTEST_REASON:
            lead = _(
                "Not saved: questions of this bot's test sets fail under this change. Or say below why it is saved."
            )
            self.add_error(None, [lead, *self.verdict.complaints])

    def _get_validation_exclusions(self) -> set[str]:
        """Making another bot the default one is no conflict: the old default makes room when the new one is saved."""
        return {*super()._get_validation_exclusions(), "is_default"}  # type: ignore[misc]
