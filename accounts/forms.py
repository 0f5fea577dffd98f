"""The forms of the accounts admin and of the page that an invitation opens."""

from __future__ import annotations

from typing import Any
from zoneinfo import available_timezones

from django import forms
from django.contrib.auth import password_validation
from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminSelect2Widget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from accounts.choices import BUSINESS_KEY_KINDS, KeyKind, KeyScope, Role
from accounts.models import ApiKey, Business, Invitation, JwtIssuer, Membership, User
from accounts.permissions import Right, has_right
from accounts.services import checked_origins
from mia.lib.errors import ApplicationError, InvalidRequest


def refusal_texts(error: ApplicationError) -> list[str]:
    """What a service says against a request, as lines for a person."""
    if isinstance(error.detail, str):
        return [error.detail]
    return [message for texts in error.detail.values() for message in texts]


class OriginsField(forms.CharField):
    """A list of web origins, one per line."""

    widget = UnfoldAdminTextareaWidget(attrs={"rows": 4, "placeholder": "https://shop.example"})

    def prepare_value(self, value: Any) -> Any:
        return "\n".join(value) if isinstance(value, list) else value

    def to_python(self, value: Any) -> Any:
        if isinstance(value, list):
            return value
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def has_changed(self, initial: Any, data: Any) -> bool:
        return bool(self.to_python(initial) != self.to_python(data))


def time_zones() -> list[tuple[str, str]]:
    return [(name, name.replace("_", " ")) for name in sorted(available_timezones())]


class BusinessForm(forms.ModelForm[Business]):
    """A business's own settings."""

    time_zone = forms.ChoiceField(
        label=_("Time zone"), choices=time_zones, initial="UTC", widget=UnfoldAdminSelect2Widget
    )

    class Meta:
        model = Business
        fields = [
            "name", "contact_email", "contact_phone", "locale", "time_zone", "min_trust", "retention_days",
        ]  # fmt: skip


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """A key to be made, or one whose name and pages are changed."""

    allowed_origins = OriginsField(
        label=_("Allowed origins"),
        required=False,
        help_text=_(
            "Publishable keys only: the sites that may show the widget, one per line, such as https://shop.example."
        ),
    )

    scopes = forms.MultipleChoiceField(
        label=_("May"),
        required=False,
        choices=KeyScope.choices,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text=_("Secret keys only: what it may be used for. None chosen: everything."),
    )

    class Meta:
        model = ApiKey
        fields = ["business", "kind", "name", "allowed_origins", "scopes", "expires_at"]
        widgets = {"kind": UnfoldAdminSelectWidget(choices=[(kind.value, kind.label) for kind in BUSINESS_KEY_KINDS])}

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        kind = data.get("kind") or self.instance.kind
        if kind and "allowed_origins" in data:
            data["allowed_origins"] = self._checked_origins(KeyKind(kind), data["allowed_origins"])
        if kind and kind != KeyKind.SECRET and data.get("scopes"):
            self.add_error("scopes", _("Only secret keys are narrowed; the others are narrow already."))
        return data

    def _checked_origins(self, kind: KeyKind, origins: list[str]) -> list[str]:
        try:
            return checked_origins(kind, origins)
        except InvalidRequest as error:
            self.add_error("allowed_origins", refusal_texts(error))
            return origins


class RoleForm:
    """Refuses to make or unmake an owner to whoever is none."""

    acting_user: User

    def clean(self) -> dict[str, Any]:
        data: dict[str, Any] = super().clean() or {}  # type: ignore[misc]
        business = data.get("business")
        touched = {data.get("role"), getattr(self, "initial", {}).get("role")}
        if business and Role.OWNER in touched and not has_right(self.acting_user, Right.OWN, business.pk):
            raise ValidationError({"role": _("Only owners decide who owns the business.")})
        return data


class InvitationForm(RoleForm, forms.ModelForm[Invitation]):
    """Whom to invite, as what."""

    class Meta:
        model = Invitation
        fields = ["business", "email", "role"]

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).lower()

    def clean(self) -> dict[str, Any]:
        data = super().clean()
        members = Membership.objects.filter(business=data.get("business"), user__email=data.get("email"))
        if data.get("business") and members.exists():
            raise ValidationError({"email": _("This person is a member already.")})
        return data

    def validate_constraints(self) -> None:
        """A second invitation to an address takes the place of the first, so that one is no conflict."""


class MembershipForm(RoleForm, forms.ModelForm[Membership]):
    """A member's role."""

    class Meta:
        model = Membership
        fields = ["business", "user", "role"]


class JwtIssuerForm(forms.ModelForm[JwtIssuer]):
    """Whose tokens a business accepts."""

    jwks_url = forms.URLField(
        label=_("key set address"), required=False, assume_scheme="https", widget=UnfoldAdminTextInputWidget()
    )

    class Meta:
        model = JwtIssuer
        fields = ["business", "issuer", "audience", "public_key_pem", "jwks_url", "active"]
        widgets = {
            "public_key_pem": UnfoldAdminTextareaWidget(
                attrs={"rows": 8, "placeholder": "-----BEGIN PUBLIC KEY-----", "spellcheck": "false"}
            )
        }


class JoinForm(forms.Form):
    """What somebody new tells us when they accept an invitation."""

    name = forms.CharField(
        label=_("Your name"), max_length=150, widget=UnfoldAdminTextInputWidget(attrs={"autocomplete": "name"})
    )
    password = forms.CharField(
        label=_("Choose a password"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
        help_text=_("At least ten characters, and not one that is easy to guess."),
    )
    password_again = forms.CharField(
        label=_("The same password again"),
        strip=False,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.email = email

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        password = data.get("password")
        if password and data.get("password_again") and password != data["password_again"]:
            raise ValidationError({"password_again": _("The two passwords differ.")})
        if password:
            self._check_strength(password, data.get("name", ""))
        return data

    def _check_strength(self, password: str, name: str) -> None:
        try:
            password_validation.validate_password(password, User(email=self.email, name=name))
        except ValidationError as error:
            self.add_error("password", error)
