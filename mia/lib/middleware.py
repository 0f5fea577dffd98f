"""What every request through Django passes: an id, limits on what it brings, and the headers that protect a browser."""

import io
import re
import uuid
from collections.abc import Callable, Mapping
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from mia.lib.api import error_response
from mia.lib.errors import InvalidRequest, PayloadTooLarge
from mia.lib.logging import bind_request

GetResponse = Callable[[HttpRequest], HttpResponseBase]

REQUEST_ID_HEADER: Final = "X-Request-Id"
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")


def choose_request_id(offered: str | None) -> str:
    """The caller's id if it is short and harmless in a log, else a new one."""
    if offered and _SANE_REQUEST_ID.fullmatch(offered):
        return offered
    return uuid.uuid4().hex


class RequestIdMiddleware:
    """Gives every request an id, for its log lines and for the reply."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        request_id = choose_request_id(request.headers.get(REQUEST_ID_HEADER))
        with bind_request(request_id):
            response = self.get_response(request)
        response.headers[REQUEST_ID_HEADER] = request_id
        return response


class BodyLimitMiddleware:
    """Refuses, before a view reads anything, a body that is too large and an address that PostgreSQL could not store.

    A view that takes more says so by an attribute `max_body_bytes` of its class.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Refuses NUL in the address; psycopg would raise on it deep inside some query."""
        if "\x00" in request.path or "%00" in request.META.get("QUERY_STRING", ""):
            return error_response(InvalidRequest("The address holds a NUL character."))
        return self.get_response(request)

    def process_view(
        self,
        request: HttpRequest,
        view: Callable[..., HttpResponseBase],
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> HttpResponseBase | None:
        limit = _limit_of(view)
        try:
            declared = _declared_length(request)
        except ValueError:
            return error_response(InvalidRequest("Content-Length is not a whole number."))
        if declared > limit or not _take_chunked_body(request, limit):
            return error_response(PayloadTooLarge(f"The request body may hold {limit} bytes."))
        return None


def _limit_of(view: Callable[..., HttpResponseBase]) -> int:
    view_class = getattr(view, "view_class", None) or getattr(view, "cls", None)
    return int(getattr(view_class, "max_body_bytes", settings.MAX_BODY_BYTES))


def _declared_length(request: HttpRequest) -> int:
    text = request.META.get("CONTENT_LENGTH") or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError(text)
    return int(text[:20])


def _take_chunked_body(request: HttpRequest, limit: int) -> bool:
    """Reads a body that came in chunks: Django goes by Content-Length alone and would take it for empty."""
    if "HTTP_TRANSFER_ENCODING" not in request.META or request.META.get("CONTENT_LENGTH"):
        return True
    stream = request.META.get("wsgi.input")
    body = b"" if stream is None else stream.read(limit + 1)
    request._stream = io.BytesIO(body)  # Django offers no other way in.
    request.META["CONTENT_LENGTH"] = str(len(body))
    return len(body) <= limit


SHARED_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Permissions-Policy": "camera=(), display-capture=(), geolocation=(), microphone=(), payment=(), usb=()",
}

DATA_POLICY: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
PAGE_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Swagger UI and Redoc write their own styles; Redoc also starts a worker from a blob.
DOCS_POLICY: Final = (
    "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; worker-src 'self' blob:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# Unfold's Alpine evaluates expressions in attributes, and the admin sets styles there.
ADMIN_POLICY: Final = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
# django-rq's queue pages, which only staff see, write their scripts into the page.
QUEUES_POLICY: Final = ADMIN_POLICY.replace("'unsafe-eval'", "'unsafe-eval' 'unsafe-inline'")
POLICY_BY_PATH: Final = (
    ("/admin/rq/", QUEUES_POLICY),
    ("/admin/django_rq/", QUEUES_POLICY),
    ("/admin/", ADMIN_POLICY),
    ("/docs", DOCS_POLICY),
    ("/redoc", DOCS_POLICY),
)


class SecurityHeadersMiddleware:
    """Sets the headers that keep a browser from being used against the user; a view's own headers stand."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        for name, value in SHARED_HEADERS.items():
            response.headers.setdefault(name, value)
        response.headers.setdefault("Content-Security-Policy", content_policy(request.path, response))
        if _media_type(response) == "application/json":
            response.headers.setdefault("Cache-Control", "no-store")
        return response


def content_policy(path: str, response: HttpResponseBase) -> str:
    """The Content-Security-Policy for a response at this path: by page family, else by whether it is a page at all."""
    for prefix, policy in POLICY_BY_PATH:
        if path.startswith(prefix):
            return policy
    return PAGE_POLICY if _media_type(response) == "text/html" else DATA_POLICY


def _media_type(response: HttpResponseBase) -> str:
    return response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
