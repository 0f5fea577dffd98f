"""The admin's login form, which a guesser of passwords may not try for long."""

from __future__ import annotations

from typing import Any, Final

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle
from unfold.forms import AuthenticationForm

from mia.lib.ratelimit import Bucket, take

PER_PERSON: Final = Bucket("login-person", rate_per_s=5 / 900, burst=5)
PER_ADDRESS: Final = Bucket("login-address", rate_per_s=20 / 900, burst=20)


class LoginForm(AuthenticationForm):  # type: ignore[misc]
    """Five wrong passwords for one person, or twenty from one address, and the door stays shut for some minutes.

    A try is charged before the password is looked at, so that many at once cannot slip through, and given back when
    it was right.
    """

    def clean(self) -> dict[str, Any]:
        tries = [(PER_PERSON, str(self.cleaned_data.get("username", "")).lower()), (PER_ADDRESS, self._address())]
        for bucket, holder in tries:
            if not take(bucket, holder).allowed:
                raise ValidationError(_("Too many tries. Wait a few minutes, then try again."), code="throttled")
        cleaned: dict[str, Any] = super().clean()
        for bucket, holder in tries:
            take(bucket, holder, cost=-1)
        return cleaned

    def _address(self) -> str:
        return str(BaseThrottle().get_ident(Request(self.request)))
