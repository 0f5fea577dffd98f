"""What every request passes: the rows that staff may see in the admin, and the pages that may call from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.cache import patch_vary_headers

from accounts.models import User
from accounts.origins import is_allowed, some_live_key_serves
from accounts.principals import Principal, PrincipalKind, visible_business_ids
from accounts.tenancy import business_scope, platform_scope, undoable
from mia.lib.transactions import undo_all

GetResponse = Callable[[HttpRequest], HttpResponseBase]
ALLOWED_METHODS = "GET, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED_HEADERS = (
    "Authorization, Content-Type, X-Api-Key, X-Session-Token, Idempotency-Key, Prefer, Last-Event-ID, X-Request-Id"
)
EXPOSED_HEADERS = "Retry-After, X-Request-Id, Location, Content-Disposition"
PREFLIGHT_MAX_AGE_S = 600


def scope_of_user(user: User | AnonymousUser) -> AbstractContextManager[None]:
    """Everything for a superuser, the businesses they belong to for staff, and nothing for anybody else."""
    if not user.is_staff:
        return business_scope()
    business_ids = visible_business_ids(user)
    return platform_scope() if business_ids is None else business_scope(*business_ids)


class StaffScopeMiddleware:
    """Runs each request to the admin in one transaction under the scope of whoever signed in; an error undoes it."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._prefix: str | None = None

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if not request.path.startswith(self.prefix):
            return self.get_response(request)
        user = request.user
        with undoable(), scope_of_user(user):
            response = self.get_response(request)
            if response.status_code >= 400:
                undo_all()
        # The body of a streaming response is made after the transaction has ended, so it opens its own.
        if isinstance(response, StreamingHttpResponse) and getattr(response, "file_to_stream", None) is None:
            response.streaming_content = stream_in_scope(user, iter(response))
        return response

    @property
    def prefix(self) -> str:
        if self._prefix is None:
            self._prefix = reverse("admin:index")
        return self._prefix


def stream_in_scope(user: User | AnonymousUser, pieces: Iterable[bytes]) -> Iterator[bytes]:
    with scope_of_user(user):
        yield from pieces


class CorsMiddleware:
    """Lets the pages that a publishable key names read our answers, never with cookies.

    A preflight carries no key, so any live key that names the origin will do; an answer is shown only to an origin
    of the very key that was used, or, where no key was accepted, of some live key, so that a widget can read why.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        origin = request.headers.get("Origin")
        if origin is None:
            return self.get_response(request)
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return preflight_response(origin)
        response = self.get_response(request)
        if not response.has_header("Access-Control-Allow-Origin"):
            patch_vary_headers(response, ["Origin"])
            set_headers(response, cors_headers(origin, getattr(request, "user", None)))
        return response


def preflight_response(origin: str) -> HttpResponse:
    response = HttpResponse(status=204)
    del response["Content-Type"]
    patch_vary_headers(response, ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"])
    set_headers(response, preflight_headers(origin))
    return response


def preflight_headers(origin: str) -> Mapping[str, str]:
    """What a preflight is answered; nothing, where no live key names the origin. May ask the database."""
    if not some_live_key_serves(origin):
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(PREFLIGHT_MAX_AGE_S),
    }


def cors_headers(origin: str, user: object) -> Mapping[str, str]:
    """What an answer to this page carries so that the page may read it. May ask the database."""
    if not may_read(origin, user):
        return {}
    return {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED_HEADERS}


def may_read(origin: str, user: object) -> bool:
    # Not isinstance: it would wake Django's lazy user, and with it the session.
    if type(user) is not Principal:
        return some_live_key_serves(origin)
    return user.kind == PrincipalKind.PUBLISHABLE and is_allowed(origin, user.allowed_origins)


def set_headers(response: HttpResponseBase, headers: Mapping[str, str]) -> None:
    for name, value in headers.items():
        response[name] = value
