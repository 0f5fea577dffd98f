"""The base of every API view: a credential, the right scope around the handler, and one error shape."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.authentication import JwtAuthentication, KeyAuthentication, StaffSessionAuthentication
from accounts.choices import KeyScope
from accounts.permissions import HasAllowedKind
from accounts.principals import Principal, PrincipalKind, visible_business_ids
from accounts.tenancy import business_scope, no_scope, platform_scope, undoable
from mia.lib.transactions import undo_all

TENANT_KINDS = frozenset(
    {PrincipalKind.PUBLISHABLE, PrincipalKind.SECRET, PrincipalKind.CLIENT, PrincipalKind.DASHBOARD}
)


def scope_of(principal: Principal | None) -> AbstractContextManager[None]:
    """The rows that somebody may see: their businesses, everything for a miner or a superuser, nothing for nobody."""
    if principal is None:
        return no_scope()
    business_ids = visible_business_ids(principal)
    return platform_scope() if business_ids is None else business_scope(*business_ids)


class ScopedAPIView(APIView):
    """A view that nobody may use until it names `allowed_kinds` or sets `allow_anonymous`.

    A secret key that was narrowed reaches only views of its `key_scope`s.

    A bad credential is refused even where none is needed. The handler runs in one transaction under the scope of its
    principal, which is rolled back when the handler raises or answers with an error. Authentication, permissions and
    throttles run before it, outside the transaction.
    """

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset()
    allow_anonymous: ClassVar[bool] = False
    key_scope: ClassVar[KeyScope | None] = None
    authentication_classes = (KeyAuthentication, JwtAuthentication)
    permission_classes = (HasAllowedKind,)

    def get_authenticators(self) -> list[BaseAuthentication]:
        """The staff session counts only where staff are named: a cookie must not open what was meant for keys."""
        authenticators = list(super().get_authenticators())
        if PrincipalKind.STAFF in self.allowed_kinds:
            authenticators.append(StaffSessionAuthentication())
        return authenticators

    def get_permissions(self) -> Sequence[Any]:
        """What is open to everybody is told to the schema too, which knows AllowAny and not `allow_anonymous`."""
        permissions = list(super().get_permissions())
        return [*permissions, AllowAny()] if self.allow_anonymous else permissions

    def scope(self, request: Request) -> AbstractContextManager[None]:
        return scope_of(self.principal)

    @property
    def principal(self) -> Principal | None:
        """Who is asking; None on a view that allows it."""
        user: object = self.request.user
        return user if isinstance(user, Principal) else None

    @property
    def business_id(self) -> int:
        """The business of the credential; only for views whose kinds all have one."""
        principal = self.principal
        assert principal is not None
        assert principal.business_id is not None
        return principal.business_id

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """DRF's own, with the scope around the handler, inside the reach of DRF's error handling."""
        self.args, self.kwargs = args, kwargs
        self.request = self.initialize_request(request, *args, **kwargs)
        self.headers = self.default_response_headers
        response: HttpResponseBase
        try:
            self.initial(self.request, *args, **kwargs)
            response = self._handle(self.request, *args, **kwargs)
        except Exception as error:  # noqa: BLE001  (the edge: DRF turns what it knows into a response and raises the rest)
            response = self.handle_exception(error)
        self.response = self.finalize_response(self.request, cast("Response", response), *args, **kwargs)
        return self.response

    def _handle(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        method = (request.method or "").lower()
        known = method in self.http_method_names
        handler = getattr(self, method, self.http_method_not_allowed) if known else self.http_method_not_allowed
        with undoable(), self.scope(request):
            response: HttpResponseBase = handler(request, *args, **kwargs)
            if response.status_code >= 400:
                undo_all()
        return response


__all__ = ["TENANT_KINDS", "Response", "ScopedAPIView", "scope_of"]
