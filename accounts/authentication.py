"""The credentials that API views take, as DRF wants them."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.request import Request

from accounts.headers import Credentials, principal_from_headers, principal_of_key, principal_of_token
from accounts.models import User
from accounts.principals import Principal, PrincipalKind, principal_of_user
from accounts.resolution import register_lookup, resolve_key, verdicts

__all__ = [
    "Credentials",
    "JwtAuthentication",
    "KeyAuthentication",
    "StaffSessionAuthentication",
    "credentials_of",
    "principal_from_headers",
    "register_lookup",
    "resolve_key",
    "verdicts",
]

Authenticated = tuple[Principal, PrincipalKind]
CHALLENGE = 'Bearer realm="mia"'


def credentials_of(request: HttpRequest | Request) -> Credentials:
    """The credential headers of a Django or DRF request."""
    django_request: HttpRequest = getattr(request, "_request", request)
    headers = django_request.headers
    same_origin = headers.get("Sec-Fetch-Site") == "same-origin"
    return Credentials(
        authorization=headers.get("Authorization", ""),
        api_key=headers.get("X-Api-Key", ""),
        origin=headers.get("Origin"),
        own_origin=f"{django_request.scheme}://{django_request.get_host()}" if same_origin else None,
    )


class KeyAuthentication(BaseAuthentication):
    """API keys of businesses and miners, as a bearer or in X-Api-Key; a publishable key only from its pages."""

    def authenticate(self, request: Request) -> Authenticated | None:
        return _pair(principal_of_key(credentials_of(request)))

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class JwtAuthentication(BaseAuthentication):
    """RS256 tokens of a business's own dashboard."""

    def authenticate(self, request: Request) -> Authenticated | None:
        return _pair(principal_of_token(credentials_of(request)))

    def authenticate_header(self, request: Request) -> str:
        return CHALLENGE


class StaffSessionAuthentication(SessionAuthentication):
    """The admin's session cookie, with CSRF protection: only for views that name it."""

    def authenticate(self, request: Request) -> Any:
        user = getattr(request._request, "user", None)
        if not isinstance(user, User) or not user.is_active or not user.is_staff:
            return None
        self.enforce_csrf(request)
        return _pair(principal_of_user(user))


def _pair(principal: Principal | None) -> Authenticated | None:
    return None if principal is None else (principal, principal.kind)
