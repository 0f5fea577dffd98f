"""The forms in which people teach: one for each kind of source, and one for a source that is there."""

from __future__ import annotations

import json
from typing import Any, Final

from django import forms
from django.utils.functional import Promise
from django.utils.translation import get_language_info
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminFileFieldWidget,
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldAdminURLInputWidget,
)

from accounts.forms import refusal_texts
from accounts.models import Business
from knowledge import sources
from knowledge.bots import names_of_bots
from knowledge.choices import FETCHED_KINDS, SourceKind
from knowledge.limits import MAX_FILE_BYTES, MAX_PAGES, MAX_QUESTION_CHARS, MAX_URL_CHARS
from knowledge.models import CuratedAnswer, Source
from knowledge.refusals import OURS
from mia.lib.errors import ApplicationError

MAX_FORM_CHARS: Final = 200_000
INTERVALS: Final = [
    (0, _("Only when I ask for it")),
    (1, _("Every hour")),
    (24, _("Every day")),
    (24 * 7, _("Every week")),
    (24 * 30, _("Every month")),
]
EVERY_BOT: Final = "every"


def whom_choices(businesses: list[Business]) -> list[tuple[str, str | Promise]]:
    """Whom a source is for: a bot by its name, or all of a business; the business is named where there are several."""
    bots = names_of_bots([business.pk for business in businesses])
    choices: list[tuple[str, str | Promise]] = []
    for business in businesses:
        prefix = f"{business}: " if len(businesses) > 1 else ""
        choices.append((f"{EVERY_BOT}:{business.pk}", f"{prefix}{_('every bot')}"))
        own = [(pk, name) for pk, (owner, name) in bots.items() if owner == business.pk]
        choices += [(f"{pk}:{business.pk}", f"{prefix}{name}") for pk, name in sorted(own, key=lambda bot: bot[1])]
    return choices


class TitleForm(forms.ModelForm[Source]):
    """What every form of a source has."""

    title = forms.CharField(
        label=_("Title"),
        required=False,
        max_length=200,
        widget=UnfoldAdminTextInputWidget,
        help_text=_("How you will find it again. May be left empty."),
    )

    class Meta:
        model = Source
        fields = ["title"]


class ChangeForm(TitleForm):
    """A source that is there: whom it is for may be changed; `businesses` is set by the page."""

    businesses: list[Business] = []

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        source = self.instance
        self.fields["whom"] = forms.ChoiceField(
            label=_("For"),
            choices=whom_choices([business for business in self.businesses if business.pk == source.business_id]),
            initial=f"{source.bot_id or EVERY_BOT}:{source.business_id}",
            required=False,
            widget=UnfoldAdminSelectWidget,
            help_text=_("Which bot learns it. Another one knows it at once, and this one no more."),
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if self.is_for_another and sources.has_twin(self.instance, bot_id=self.bot_id):
            self.add_error("whom", _("That bot has been taught the same already."))
        return data

    @property
    def is_for_another(self) -> bool:
        return bool(self.cleaned_data.get("whom")) and self.bot_id != self.instance.bot_id

    @property
    def bot_id(self) -> int | None:
        bot = self.cleaned_data["whom"].partition(":")[0]
        return None if bot == EVERY_BOT else int(bot)


class RefreshForm(TitleForm):
    """A source that is fetched, and fetched again."""

    refresh_hours = forms.TypedChoiceField(
        label=_("Look again"), choices=INTERVALS, coerce=int, initial=24 * 7, widget=UnfoldAdminSelectWidget
    )

    class Meta(TitleForm.Meta):
        fields = ["title", "refresh_hours"]


class NewSourceForm(forms.ModelForm[Source]):
    """A source to be added; `kind` and the businesses that the user manages are set by the page."""

    kind: SourceKind
    businesses: list[Business]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        choices = whom_choices(self.businesses)
        self.fields["whom"] = forms.ChoiceField(
            label=_("For"), choices=choices, widget=UnfoldAdminSelectWidget, help_text=_("Which bot learns it.")
        )

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if not self.errors:
            self._check(data)
        return data

    def _check(self, data: dict[str, Any]) -> None:
        bot, _colon, business_id = data["whom"].partition(":")
        self.instance.kind = self.kind
        self.instance.business_id = int(business_id)
        self.instance.bot_id = None if bot == EVERY_BOT else int(bot)
        for name in ("title", "location", "text"):
            setattr(self.instance, name, data.get(name) or "")
        if self.kind != SourceKind.FILE:
            try:
                sources.check_new(self.instance)
            except ApplicationError as error:
                self.add_error(None, refusal_texts(error))


class PageForm(NewSourceForm, RefreshForm):
    """One page of the web."""

    location = forms.URLField(
        label=_("Address"),
        max_length=MAX_URL_CHARS,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget,
        help_text=_("Of a page or a file that anybody can open."),
    )

    class Meta(RefreshForm.Meta):
        fields = ["location", "title", "refresh_hours"]


class WebsiteForm(PageForm):
    """The pages of a website."""

    page_limit = forms.IntegerField(
        label=_("Pages, at most"), min_value=1, max_value=MAX_PAGES, initial=200, widget=UnfoldAdminIntegerFieldWidget
    )

    class Meta(RefreshForm.Meta):
        fields = ["location", "title", "page_limit", "refresh_hours"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["location"].help_text = _("Of its sitemap.xml, or of the page from which links are followed.")


class TextForm(NewSourceForm, TitleForm):
    """Words that are pasted in."""

    text = forms.CharField(
        label=_("Text"),
        max_length=MAX_FORM_CHARS,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 16}),
        help_text=_("A line that begins with # is a heading; the words under it are kept together."),
    )

    class Meta(TitleForm.Meta):
        fields = ["title", "text"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["title"].required = True


class FileForm(NewSourceForm):
    """A file."""

    file = forms.FileField(
        label=_("File"),
        widget=UnfoldAdminFileFieldWidget,
        help_text=_("PDF, DOCX, HTML, CSV, Markdown or text, of at most 25 MB."),
    )

    class Meta:
        model = Source
        fields: list[str] = []

    def clean_file(self) -> Any:
        file = self.cleaned_data["file"]
        if file.size > MAX_FILE_BYTES:
            raise forms.ValidationError(_("A file has at most 25 MB."))
        return file


class AnswersForm(NewSourceForm, TitleForm):
    """A set of questions with their answers, which are added below."""

    class Meta(TitleForm.Meta):
        fields = ["title"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["title"].required = True


NEW_FORMS: Final[dict[SourceKind, type[NewSourceForm]]] = {
    SourceKind.URL: PageForm,
    SourceKind.SITEMAP: WebsiteForm,
    SourceKind.FILE: FileForm,
    SourceKind.TEXT: TextForm,
    SourceKind.QA: AnswersForm,
}


class TextChangeForm(ChangeForm):
    """A pasted text that is there."""

    text = forms.CharField(
        label=_("Text"),
        max_length=MAX_FORM_CHARS,
        strip=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 16}),
        help_text=_("It is trained again when you save."),
    )

    class Meta(TitleForm.Meta):
        fields = ["title", "text"]


class FileChangeForm(ChangeForm):
    """A file that is there; where visitors can open it may be said, and citations then lead there."""

    location = forms.URLField(
        label=_("Where visitors find it"),
        required=False,
        max_length=MAX_URL_CHARS,
        assume_scheme="https",
        widget=UnfoldAdminURLInputWidget,
        help_text=_("The file's address on your website. Citations lead there; left empty, they name the file only."),
    )

    class Meta(TitleForm.Meta):
        fields = ["title", "location"]

    def clean_location(self) -> str:
        address: str = self.cleaned_data["location"]
        if address and not address.startswith(("https://", "http://")):
            raise forms.ValidationError(_("An address that begins with https:// or http://."))
        return address


class RefreshChangeForm(ChangeForm, RefreshForm):
    """A page that is there."""

    class Meta(RefreshForm.Meta):
        pass


class WebsiteChangeForm(RefreshChangeForm):
    """A website that is there."""

    page_limit = WebsiteForm.base_fields["page_limit"]

    class Meta(RefreshForm.Meta):
        fields = ["title", "page_limit", "refresh_hours"]


def change_form_of(source: Source) -> type[ChangeForm]:
    if source.kind == SourceKind.TEXT:
        return TextChangeForm
    if source.kind == SourceKind.SITEMAP:
        return WebsiteChangeForm
    if source.kind == SourceKind.FILE:
        return FileChangeForm
    return RefreshChangeForm if source.kind in FETCHED_KINDS else ChangeForm


class WordingsField(forms.CharField):
    """Other wordings of a question, one per line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 3})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def clean(self, value: Any) -> list[str]:
        wordings: list[str] = self.to_python(value)
        if len(wordings) > 20 or any(len(wording) > MAX_QUESTION_CHARS for wording in wordings):
            raise forms.ValidationError(_("At most 20 lines of at most 500 characters."))
        return wordings

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


class AnswerForm(forms.ModelForm[CuratedAnswer]):
    """One question with its answer."""

    other_wordings = WordingsField(label=_("Other wordings"), required=False)

    class Meta:
        model = CuratedAnswer
        fields = ["question", "other_wordings", "answer"]
        widgets = {"answer": UnfoldAdminTextareaWidget(attrs={"rows": 4})}


class TextsWidget(forms.MultiWidget):
    """A line for each language that a text can be given in, with what is said without one."""

    template_name = "knowledge/admin/texts_widget.html"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        lines = {
            code: UnfoldAdminTextInputWidget(attrs={"placeholder": ours, "lang": code, "dir": "auto"})
            for code, ours in OURS.items()
        }
        super().__init__(lines, attrs)

    def decompress(self, value: Any) -> list[str]:
        texts = json.loads(value) if isinstance(value, str) else (value or {})
        return [str(texts.get(code, "")) for code in OURS]

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        context = super().get_context(name, value, attrs)
        for code, line in zip(OURS, context["widget"]["subwidgets"], strict=True):
            line["label"] = language_name(code)
        return context


class TextsField(forms.MultiValueField):
    """Texts by language; those that are left empty are not kept."""

    widget = TextsWidget

    def __init__(self, **kwargs: Any) -> None:
        fields = [forms.CharField(max_length=1000, required=False) for _code in OURS]
        super().__init__(fields, require_all_fields=False, required=False, **kwargs)

    def compress(self, data_list: list[str]) -> dict[str, str]:
        return {code: text for code, text in zip(OURS, data_list, strict=False) if text}

    def has_changed(self, initial: Any, data: Any) -> bool:
        lines = [text or "" for text in data or [""] * len(OURS)]
        return bool(self.compress(lines) != (initial or {}))


def language_name(code: str) -> str:
    """In the reader's language; Django knows Chinese by its scripts alone."""
    return str(get_language_info("zh-hans" if code == "zh" else code)["name_translated"])
