"""A few API views and admin pages for tests, before all addresses of the platform."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest, StreamingHttpResponse
from django.urls import include, path
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularJSONAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api import TENANT_KINDS, ScopedAPIView
from accounts.models import ApiKey, Business
from accounts.principals import PrincipalKind
from mia.lib.errors import Conflict

anything = extend_schema(request=None, responses={200: dict})


@anything
class ClosedView(ScopedAPIView):
    """Forgot to say who may use it."""

    def get(self, request: Request) -> Response:
        return Response({"open": True})


@anything
class PlainView(APIView):
    """Forgot even the base class."""

    def get(self, request: Request) -> Response:
        return Response({"open": True})


@anything
class KeysView(ScopedAPIView):
    """Lists the keys in sight; for servers and dashboards."""

    allowed_kinds: ClassVar[frozenset[PrincipalKind]] = frozenset({PrincipalKind.SECRET, PrincipalKind.DASHBOARD})

    def get(self, request: Request) -> Response:
        names = list(ApiKey.objects.order_by("pk").values_list("pk", flat=True))
        return Response({"keys": names, "business": self.business_id})


@anything
class RenameView(ScopedAPIView):
    """Renames the business, and then fails in a way of choice."""

    allowed_kinds = TENANT_KINDS

    def post(self, request: Request) -> Response:
        Business.objects.update(name="renamed")
        match request.data.get("then"):
            case "raise":
                raise Conflict
            case "answer":
                return Response({"detail": "no"}, status=409)
            case "break":
                raise ZeroDivisionError
        return Response({"ok": True})


@anything
class PublicView(ScopedAPIView):
    """Open to everybody, with or without a credential."""

    allowed_kinds = TENANT_KINDS
    allow_anonymous = True

    def get(self, request: Request) -> Response:
        kind = None if self.principal is None else self.principal.kind
        return Response({"kind": kind, "businesses": Business.objects.count()})


@anything
class StaffView(ScopedAPIView):
    """For staff with the admin's session, and for servers."""

    allowed_kinds = frozenset({PrincipalKind.STAFF, PrincipalKind.SECRET})

    def get(self, request: Request) -> Response:
        return Response({"businesses": list(Business.objects.order_by("pk").values_list("pk", flat=True))})

    def post(self, request: Request) -> Response:
        return Response({"changed": Business.objects.update(name="by staff")})


@anything
class MinerView(ScopedAPIView):
    """For miners."""

    allowed_kinds = frozenset({PrincipalKind.MINER})

    def get(self, request: Request) -> Response:
        return Response({"businesses": Business.objects.count()})


def stream_names(request: HttpRequest) -> StreamingHttpResponse:
    """An export: its rows are read after the view has returned."""
    return StreamingHttpResponse(f"{name}\n" for name in Business.objects.values_list("name", flat=True))


def rename_and_fail(request: HttpRequest, how: str) -> Any:
    Business.objects.update(name="renamed")
    raise {"permission": PermissionError, "error": ZeroDivisionError}[how]


urlpatterns = [
    path("admin/export/", stream_names),
    path("admin/fail/<str:how>/", rename_and_fail),
    path("api/closed", ClosedView.as_view()),
    path("api/plain", PlainView.as_view()),
    path("api/keys", KeysView.as_view()),
    path("api/rename", RenameView.as_view()),
    path("api/public", PublicView.as_view()),
    path("api/staff", StaffView.as_view()),
    path("api/miner", MinerView.as_view()),
    path("test-openapi.json", SpectacularJSONAPIView.as_view(urlconf="accounts.tests.site_urls")),
    path("", include("mia.urls")),
]
handler403 = "mia.handlers.permission_denied"
handler404 = "mia.handlers.page_not_found"
handler500 = "mia.handlers.server_error"
