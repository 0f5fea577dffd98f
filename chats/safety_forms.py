"""The form of a business's safety rules."""

from __future__ import annotations

from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import UnfoldAdminTextareaWidget

from chats.models import SafetyPolicy

MOST_TEXTS: Final = 200


class TextsField(forms.CharField):
    """Short texts, one a line or separated by commas."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})

    def __init__(self, *, longest: int, **options: Any) -> None:
        super().__init__(required=False, **options)
        self.longest = longest

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        parts = str(value or "").replace(",", "\n").splitlines()
        return list(dict.fromkeys(" ".join(part.split()) for part in parts if part.strip()))

    def validate(self, value: Any) -> None:
        super().validate(value)
        if len(value) > MOST_TEXTS:
            raise ValidationError(_("%(most)s at most."), params={"most": MOST_TEXTS})
        if any(len(text) > self.longest or len(text) < 2 for text in value):
            raise ValidationError(_("From 2 to %(longest)s characters each."), params={"longest": self.longest})

    def run_validators(self, value: Any) -> None:
        """Each text is checked in `validate`; what checks one text has nothing to say about a list."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class SafetyPolicyForm(forms.ModelForm[SafetyPolicy]):
    """Safety rules."""

    names = TextsField(
        longest=100,
        label=_("Names to hide"),
        help_text=_("Of people or customers, one a line. The visitor's own is hidden anyway."),
    )
    guarded_texts = TextsField(
        longest=300,
        label=_("Never to be told"),
        help_text=_("Words or phrases, one a line. An answer that holds one is replaced."),
    )

    class Meta:
        model = SafetyPolicy
        exclude = ["created_at"]  # noqa: DJ006 - the admin's fieldsets name every field
        widgets = {"topics": UnfoldAdminTextareaWidget(attrs={"rows": 3})}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        bot, business = data.get("bot"), data.get("business")
        if bot and business and bot.business_id != business.pk:
            self.add_error("bot", _("This bot belongs to another business."))
        return data
