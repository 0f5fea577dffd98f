"""How every JSON endpoint reads its body, pages its lists and fails.

Django REST framework takes the parser, the renderer and the exception handler from here by setting; whatever answers
without it (middleware, error handlers) uses `application_error` and `error_response`.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import IO, Any

import psycopg
import redis.exceptions
from django.core import signing
from django.core.exceptions import BadRequest, PermissionDenied, RequestDataTooBig, SuspiciousOperation, ValidationError
from django.db import InterfaceError, OperationalError, connections
from django.http import Http404, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from django.utils import timezone
from rest_framework import exceptions, negotiation, pagination, parsers, renderers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param

from mia.lib import errors
from mia.lib.errors import ApplicationError, error_body
from mia.lib.strict_json import parse_strict_json as parse_strict_json

logger = logging.getLogger(__name__)

NON_FIELD_ERRORS = "non_field_errors"

DEPENDENCY_DOWN = (
    OperationalError,
    InterfaceError,
    psycopg.OperationalError,
    redis.exceptions.ConnectionError,
    redis.exceptions.TimeoutError,
)

# Looked up in order, so a subclass stands before its base.
KNOWN_EXCEPTIONS: tuple[tuple[type[Exception] | tuple[type[Exception], ...], type[ApplicationError]], ...] = (
    ((exceptions.NotAuthenticated, exceptions.AuthenticationFailed), errors.NotAuthenticated),
    ((exceptions.PermissionDenied, PermissionDenied), errors.Forbidden),
    ((exceptions.NotFound, Http404), errors.NotFound),
    (exceptions.MethodNotAllowed, errors.MethodNotAllowed),
    (exceptions.NotAcceptable, errors.NotAcceptable),
    (exceptions.UnsupportedMediaType, errors.UnsupportedMediaType),
    (RequestDataTooBig, errors.PayloadTooLarge),
    ((SuspiciousOperation, BadRequest, MultiPartParserError, UnreadablePostError), errors.InvalidRequest),
    (DEPENDENCY_DOWN, errors.Unavailable),
)


def application_error(error: BaseException | None) -> ApplicationError:
    """What the outside is told about any exception; whatever is not foreseen is a ServerError with a fixed text."""
    match error:
        case ApplicationError():
            return error
        case exceptions.ValidationError():
            return errors.InvalidRequest(dict(_flatten(error.detail)))
        case ValidationError():
            return errors.InvalidRequest(_model_errors(error))
        case exceptions.ParseError():
            return errors.InvalidRequest(str(error.detail))
        case exceptions.Throttled():
            return errors.RateLimited(retry_after_s=math.ceil(getattr(error, "wait", None) or 1))
        case _:
            return _known_error(error)


def _known_error(error: BaseException | None) -> ApplicationError:
    for known, ours in KNOWN_EXCEPTIONS:
        if isinstance(error, known):
            return ours()
    return errors.ServerError()


def _flatten(detail: object, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """DRF's nested errors as one level: `messages.0.role` → the messages about it."""
    if isinstance(detail, Mapping):
        for name, value in detail.items():
            yield from _flatten(value, f"{path}.{name}" if path else str(name))
    elif isinstance(detail, list) and any(isinstance(item, Mapping | list) for item in detail):
        for index, item in enumerate(detail):
            yield from _flatten(item, f"{path}.{index}" if path else str(index))
    elif detail:
        messages = detail if isinstance(detail, list) else [detail]
        yield path or NON_FIELD_ERRORS, [str(message) for message in messages]


def _model_errors(error: ValidationError) -> dict[str, list[str]]:
    if not hasattr(error, "error_dict"):
        return {NON_FIELD_ERRORS: error.messages}
    return {NON_FIELD_ERRORS if name == "__all__" else name: texts for name, texts in error.message_dict.items()}


def error_headers(error: ApplicationError) -> dict[str, str]:
    headers = {"Cache-Control": "no-store"}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.NotAuthenticated):
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def error_response(error: ApplicationError) -> JsonResponse:
    body = error_body(error, timezone.now())
    return JsonResponse(body, status=error.status, headers=error_headers(error), json_dumps_params=COMPACT)


COMPACT = {"separators": (",", ":"), "ensure_ascii": False}


def exception_handler(raised: Exception, context: Mapping[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER: every failure of every view in the one shape, with its database changes undone."""
    error = application_error(raised)
    request = context.get("request")
    _log(error, raised, request)
    _undo_database_changes()
    return Response(error_body(error, timezone.now()), status=error.status, headers=error_headers(error))


def _log(error: ApplicationError, raised: Exception, request: Request | None) -> None:
    method, path = (request.method, request.path) if request is not None else ("", "")
    if isinstance(error, errors.ServerError):
        logger.error("A view failed: %s %s", method, path, exc_info=raised)
    elif isinstance(raised, DEPENDENCY_DOWN):
        logger.warning("A view had to do without a dependency: %s %s: %s", method, path, type(raised).__name__)


def _undo_database_changes() -> None:
    for connection in connections.all(initialized_only=True):
        # The transaction that Django's TestCase wraps around a whole test is none of the request's.
        if connection.in_atomic_block and not getattr(connection.atomic_blocks[-1], "_from_testcase", False):
            connection.set_rollback(True)


class StrictJSONParser(parsers.JSONParser):
    """Reads `application/json` by `parse_strict_json`; whether an object was needed is the serializer's affair."""

    def parse(
        self, stream: IO[bytes], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        return parse_strict_json(stream.read())


class JSONRenderer(renderers.JSONRenderer):
    """Compact JSON in UTF-8, whatever indentation the Accept header asks for."""

    def get_indent(self, accepted_media_type: str, renderer_context: Mapping[str, Any]) -> None:
        """Never indents."""


class FirstRenderer(negotiation.BaseContentNegotiation):
    """For endpoints that every probe must be able to read: ignores Accept and `?format=`."""

    def select_parser(self, request: Request, parsers: Iterable[parsers.BaseParser]) -> parsers.BaseParser | None:
        return next(iter(parsers), None)

    def select_renderer(
        self, request: Request, renderers: Iterable[renderers.BaseRenderer], format_suffix: str | None = None
    ) -> tuple[renderers.BaseRenderer, str]:
        first = next(iter(renderers))
        return first, str(first.media_type)


class CursorPagination(pagination.CursorPagination):
    """Pages of `{next, previous, results}` by a signed cursor, newest first.

    Signed, because DRF puts a cursor's position into the query as it came: a forged one is a 500. Views whose primary
    key is not in order of time set `ordering`.
    """

    page_size = 50
    max_page_size = 200
    page_size_query_param = "limit"
    ordering = "-id"

    def get_page_size(self, request: Request) -> int:
        """The `limit` asked for; raises InvalidRequest instead of ignoring a wrong one."""
        text = request.query_params.get("limit")
        if text is None:
            return self.page_size
        if not (text.isascii() and text.isdigit() and len(text) < 6 and 1 <= int(text) <= self.max_page_size):
            raise errors.InvalidRequest({"limit": [f"Must be a whole number from 1 to {self.max_page_size}."]})
        return int(text)

    def encode_cursor(self, cursor: pagination.Cursor) -> str:
        token = signing.dumps([cursor.offset, cursor.reverse, cursor.position], salt=self._salt(self.request))  # type: ignore[attr-defined]
        return replace_query_param(str(self.base_url), self.cursor_query_param, token)

    def decode_cursor(self, request: Request) -> pagination.Cursor | None:
        """The cursor of this request; raises InvalidRequest for one that was not made for this list."""
        token = request.query_params.get(self.cursor_query_param)
        if token is None:
            return None
        try:
            offset, reverse, position = signing.loads(token, salt=self._salt(request))
        except signing.BadSignature as error:
            raise errors.InvalidRequest({self.cursor_query_param: ["Is not a cursor of this list."]}) from error
        return pagination.Cursor(offset=offset, reverse=reverse, position=position)

    def _salt(self, request: Request) -> str:
        return f"mia.cursor:{request.path}:{','.join(self.ordering)}"
