"""The error tree, the one error shape, and the strict JSON reader in front of every endpoint."""

import json
from datetime import UTC, datetime

import psycopg
import pytest
import redis.exceptions
from django.core.exceptions import PermissionDenied, RequestDataTooBig, SuspiciousOperation
from django.core.exceptions import ValidationError as ModelValidationError
from django.db import InterfaceError, OperationalError, connection, transaction
from django.http import Http404, HttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from rest_framework import exceptions, serializers
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.views import APIView

from mia import handlers
from mia.lib import errors
from mia.lib.api import CursorPagination, application_error, error_response, exception_handler
from mia.lib.strict_json import MAX_DEPTH, parse_strict_json

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_900, tzinfo=UTC)
ALL_ERRORS = [
    item for item in vars(errors).values() if isinstance(item, type) and issubclass(item, errors.ApplicationError)
]


class MessageSerializer(serializers.Serializer):
    role = serializers.ChoiceField(choices=["user", "assistant"])
    content = serializers.CharField(max_length=5)


class TalkSerializer(serializers.Serializer):
    title = serializers.CharField()
    messages = MessageSerializer(many=True)


class FailingView(APIView):
    authentication_classes = []
    permission_classes = []
    raises: Exception = RuntimeError("password=hunter2 in table accounts_user")

    def get(self, request):
        raise self.raises

    def post(self, request):
        TalkSerializer(data=request.data).is_valid(raise_exception=True)
        return Response({})


class UploadView(APIView):
    authentication_classes = []
    permission_classes = []
    parser_classes = [MultiPartParser]

    def post(self, request):
        return Response({"name": request.data["file"].name})


def plain_view_that_fails(request):
    raise RuntimeError("internal detail")


def plain_view_without_database(request):
    raise OperationalError("could not connect to db.internal:5432")


def plain_view_that_forbids(request):
    raise PermissionDenied("because of the row 17")


def plain_view_that_suspects(request):
    raise SuspiciousOperation("detail about us")


urlpatterns = [
    path("failing", FailingView.as_view()),
    path("upload", UploadView.as_view()),
    path("plain/fails", plain_view_that_fails),
    path("plain/down", plain_view_without_database),
    path("plain/forbids", plain_view_that_forbids),
    path("plain/suspects", plain_view_that_suspects),
    path("admin/fails", plain_view_that_fails),
    path("admin/forbids", plain_view_that_forbids),
    path("fine", lambda request: HttpResponse("fine")),
]
handler400 = handlers.bad_request
handler403 = handlers.permission_denied
handler404 = handlers.page_not_found
handler500 = handlers.server_error

pytestmark = pytest.mark.urls(__name__)


@pytest.fixture(autouse=True)
def _only_the_floor(settings):
    settings.MIDDLEWARE = [
        "mia.lib.middleware.BodyLimitMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ]


@pytest.fixture
def api():
    return APIClient(raise_request_exception=False)


@pytest.fixture
def browser():
    return Client(raise_request_exception=False, enforce_csrf_checks=True)


def handled(raised):
    """The response to a view that raised this."""
    view = type("View", (FailingView,), {"raises": raised}).as_view()
    response = view(APIRequestFactory().get("/failing"))
    response.render()
    return response


def assert_error(response, status, code):
    body = json.loads(response.content)
    assert response.status_code == status
    assert body["error_code"] == code
    assert body["timestamp"].endswith("Z")
    assert response.headers["Content-Type"].startswith("application/json")
    return body


class TestTree:
    @pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
    def test_every_error_has_a_status_a_code_and_a_text(self, kind):
        error = kind()
        assert 400 <= error.status <= 599
        assert error.code.isupper()
        assert isinstance(error.detail, str)

    def test_every_error_is_drawn_in_the_module_docstring(self):
        drawn = set(errors.__doc__.split())
        assert [kind.__name__ for kind in ALL_ERRORS if kind.__name__ not in drawn] == []

    @pytest.mark.parametrize("kind", ALL_ERRORS, ids=lambda kind: kind.__name__)
    def test_the_drawing_tells_the_status_and_the_code(self, kind):
        line = next((line for line in errors.__doc__.splitlines() if f" {kind.__name__} " in line), None)
        assert line is None or line.endswith(f"{kind.status} {kind.code}")

    def test_body_has_exactly_the_three_fields(self):
        body = errors.error_body(errors.NotFound(), NOW)
        assert body == {"detail": "Not found.", "error_code": "NOT_FOUND", "timestamp": "2026-01-02T03:04:05.678Z"}

    def test_extra_fields_stand_beside_the_three_and_never_replace_them(self):
        error = errors.PaymentRequired(extra={"needed": 5, "error_code": "FAKE"})
        body = errors.error_body(error, NOW)
        assert (body["needed"], body["error_code"]) == (5, "PAYMENT_REQUIRED")

    def test_timestamp_is_in_utc_whatever_zone_it_came_in(self):
        zurich = NOW.astimezone()
        assert errors.format_timestamp(zurich) == "2026-01-02T03:04:05.678Z"

    def test_own_retry_after_wins_over_the_default(self):
        assert errors.RateLimited(retry_after_s=7).retry_after_s == 7
        assert errors.Unavailable().retry_after_s == 2


KNOWN = [
    (errors.LeaseLost("gone"), 409, "LEASE_LOST"),
    (exceptions.NotAuthenticated(), 401, "NOT_AUTHENTICATED"),
    (exceptions.AuthenticationFailed(), 401, "NOT_AUTHENTICATED"),
    (exceptions.PermissionDenied(), 403, "FORBIDDEN"),
    (PermissionDenied("row 17"), 403, "FORBIDDEN"),
    (exceptions.NotFound(), 404, "NOT_FOUND"),
    (Http404("No Bot matches the given query."), 404, "NOT_FOUND"),
    (exceptions.MethodNotAllowed("PUT"), 405, "METHOD_NOT_ALLOWED"),
    (exceptions.NotAcceptable(), 406, "NOT_ACCEPTABLE"),
    (exceptions.UnsupportedMediaType("text/xml"), 415, "UNSUPPORTED_MEDIA_TYPE"),
    (exceptions.ParseError("bad"), 400, "INVALID_REQUEST"),
    (SuspiciousOperation("x"), 400, "INVALID_REQUEST"),
    (RequestDataTooBig("x"), 413, "PAYLOAD_TOO_LARGE"),
    (OperationalError("server closed the connection"), 503, "UNAVAILABLE"),
    (InterfaceError("connection already closed"), 503, "UNAVAILABLE"),
    (psycopg.OperationalError("x"), 503, "UNAVAILABLE"),
    (redis.exceptions.ConnectionError("x"), 503, "UNAVAILABLE"),
    (redis.exceptions.TimeoutError("x"), 503, "UNAVAILABLE"),
    (RuntimeError("secret"), 500, "SERVER_ERROR"),
    (KeyError("secret"), 500, "SERVER_ERROR"),
    (redis.exceptions.ResponseError("secret"), 500, "SERVER_ERROR"),
]


class TestExceptionHandler:
    @pytest.mark.parametrize(("raised", "status", "code"), KNOWN, ids=lambda value: type(value).__name__)
    def test_every_known_exception_becomes_its_error(self, raised, status, code):
        assert_error(handled(raised), status, code)

    @pytest.mark.parametrize(
        "kind", [OperationalError, RuntimeError, KeyError, redis.exceptions.ResponseError, Http404]
    )
    def test_an_internal_text_never_leaves(self, kind):
        body = handled(kind("password hunter2 at db.internal")).content.decode()
        assert "hunter2" not in body
        assert "Traceback" not in body

    def test_a_foreign_object_is_not_named(self):
        assert "Bot" not in handled(Http404("No Bot matches the given query.")).content.decode()

    def test_an_unforeseen_failure_is_logged_with_its_traceback(self, caplog):
        handled(RuntimeError("the cause"))
        record = next(record for record in caplog.records if record.name == "mia.lib.api")
        assert record.levelname == "ERROR"
        assert record.exc_info[1].args == ("the cause",)

    def test_a_refusal_is_not_logged_as_a_failure(self, caplog):
        handled(errors.NotFound())
        assert not [record for record in caplog.records if record.name == "mia.lib.api"]

    def test_a_missing_dependency_is_logged_by_its_kind_alone(self, caplog):
        handled(OperationalError("host db.internal password hunter2"))
        assert "OperationalError" in caplog.text
        assert "hunter2" not in caplog.text

    @pytest.mark.parametrize(
        ("raised", "seconds"),
        [
            (exceptions.Throttled(wait=2.1), "3"),
            (exceptions.Throttled(), "1"),
            (errors.NoCapacity(), "10"),
            (OperationalError("x"), "2"),
            (errors.RateLimited(retry_after_s=42), "42"),
        ],
        ids=repr,
    )
    def test_retry_after_is_sent(self, raised, seconds):
        assert handled(raised).headers["Retry-After"] == seconds

    def test_a_401_names_the_scheme_that_would_help(self):
        assert handled(exceptions.NotAuthenticated()).headers["WWW-Authenticate"] == "Bearer"

    def test_errors_are_not_cached(self):
        assert handled(errors.NotFound()).headers["Cache-Control"] == "no-store"

    def test_nested_field_errors_come_flat_with_their_path(self, api):
        body = {
            "title": "x",
            "messages": [{"role": "user", "content": "ok"}, {"role": "system", "content": "too long"}],
        }
        detail = assert_error(api.post("/failing", body, format="json"), 400, "INVALID_REQUEST")["detail"]
        assert set(detail) == {"messages.1.role", "messages.1.content"}
        assert all(isinstance(text, str) for texts in detail.values() for text in texts)

    def test_missing_fields_are_named(self, api):
        detail = assert_error(api.post("/failing", {}, format="json"), 400, "INVALID_REQUEST")["detail"]
        assert detail == {"title": ["This field is required."], "messages": ["This field is required."]}

    @pytest.mark.parametrize("body", [[], [1], "text", 5, None, True], ids=repr)
    def test_a_body_that_is_no_object_is_a_400(self, api, body):
        response = api.post("/failing", json.dumps(body), content_type="application/json")
        assert set(assert_error(response, 400, "INVALID_REQUEST")["detail"]) <= {
            "non_field_errors",
            "title",
            "messages",
        }

    def test_an_error_of_a_plain_list_has_a_field_name(self):
        error = application_error(exceptions.ValidationError(["first", "second"]))
        assert error.detail == {"non_field_errors": ["first", "second"]}

    def test_model_errors_are_told_by_field(self):
        error = application_error(ModelValidationError({"name": ["Too short."], "__all__": ["Not both."]}))
        assert error.detail == {"name": ["Too short."], "non_field_errors": ["Not both."]}

    def test_a_model_error_without_fields_is_told(self):
        assert application_error(ModelValidationError("Wrong.")).detail == {"non_field_errors": ["Wrong."]}


@pytest.mark.django_db
class TestRollback:
    def test_a_failure_inside_a_transaction_undoes_it(self):
        with transaction.atomic():
            exception_handler(errors.Conflict(), {})
            assert connection.needs_rollback

    def test_the_transaction_around_a_whole_test_is_left_alone(self):
        exception_handler(errors.Conflict(), {})
        assert not connection.needs_rollback


class TestHandlers:
    def test_an_unknown_address_is_a_404_in_the_error_shape(self, browser):
        body = assert_error(browser.get("/no/such/thing"), 404, "NOT_FOUND")
        assert "no/such" not in str(body)

    def test_a_failing_plain_view_is_a_500_in_the_error_shape(self, browser):
        response = browser.get("/plain/fails")
        assert_error(response, 500, "SERVER_ERROR")
        assert b"internal detail" not in response.content

    def test_a_plain_view_without_database_is_a_503(self, browser):
        response = browser.get("/plain/down")
        assert_error(response, 503, "UNAVAILABLE")
        assert response.headers["Retry-After"] == "2"
        assert b"db.internal" not in response.content

    def test_a_forbidden_plain_view_is_a_403_in_the_error_shape(self, browser):
        response = browser.get("/plain/forbids")
        assert_error(response, 403, "FORBIDDEN")
        assert b"17" not in response.content.replace(response.json()["timestamp"].encode(), b"")

    def test_a_suspicious_request_is_a_400_in_the_error_shape(self, browser):
        assert_error(browser.get("/plain/suspects"), 400, "INVALID_REQUEST")

    @override_settings(ALLOWED_HOSTS=["mia.example"])
    def test_a_forged_host_is_a_400_in_the_error_shape(self, browser):
        assert_error(browser.get("/fine", headers={"host": "evil.example"}), 400, "INVALID_REQUEST")

    def test_a_missing_csrf_token_is_a_403_in_the_error_shape(self, browser):
        assert_error(browser.post("/fine"), 403, "FORBIDDEN")

    @pytest.mark.parametrize(
        ("address", "status"), [("/admin/nothing", 404), ("/admin/forbids", 403), ("/admin/fails", 500)]
    )
    def test_people_in_the_admin_get_a_page(self, browser, address, status):
        response = browser.get(address)
        assert response.status_code == status
        assert response.headers["Content-Type"].startswith("text/html")
        assert b"internal detail" not in response.content

    def test_a_bad_request_and_a_missing_token_in_the_admin_are_pages(self):
        request = RequestFactory().get("/admin/x")
        assert b"<h1>" in handlers.bad_request(request, SuspiciousOperation()).content
        assert handlers.csrf_failure(request).headers["Content-Type"].startswith("text/html")

    def test_a_plain_error_response_is_compact_json(self):
        assert b'{"detail":"Not found.","error_code":"NOT_FOUND"' in error_response(errors.NotFound()).content


class TestContentType:
    @pytest.mark.parametrize(
        "content_type",
        [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "x",
            "",
        ],
    )
    def test_only_json_is_taken(self, api, content_type):
        response = api.generic("POST", "/failing", "{}", content_type=content_type)
        assert_error(response, 415, "UNSUPPORTED_MEDIA_TYPE")

    @pytest.mark.parametrize(
        "content_type", ["application/json", "application/json; charset=utf-8", "APPLICATION/JSON"]
    )
    def test_json_is_taken_with_or_without_a_charset(self, api, content_type):
        response = api.generic("POST", "/failing", '{"title": "x", "messages": []}', content_type=content_type)
        assert response.status_code == 200

    def test_multipart_is_taken_where_a_view_asks_for_it(self, api, tmp_path):
        (tmp_path / "a.txt").write_text("hello")
        with (tmp_path / "a.txt").open("rb") as file:
            assert api.post("/upload", {"file": file}, format="multipart").json() == {"name": "a.txt"}

    def test_broken_multipart_is_a_400(self, api):
        response = api.generic("POST", "/upload", "junk", content_type="multipart/form-data")
        assert_error(response, 400, "INVALID_REQUEST")

    def test_json_answers_are_compact_and_not_escaped(self, api):
        api_view = type("View", (FailingView,), {"get": lambda self, request: Response({"a": "ü"})}).as_view()
        response = api_view(APIRequestFactory().get("/", HTTP_ACCEPT="application/json; indent=4"))
        assert response.render().content == '{"a":"ü"}'.encode()


REFUSED = {
    "invalid UTF-8": b'{"a": "\xff"}',
    "UTF-16": '{"a": 1}'.encode("utf-16"),
    "byte order mark": b'\xef\xbb\xbf{"a": 1}',
    "raw NUL": b'{"a": "x\x00y"}',
    "escaped NUL in a value": rb'{"a": "x\u0000y"}',
    "escaped NUL in a key": rb'{"a\u0000": 1}',
    "escaped NUL deep inside": rb'{"a": [{"b": ["\u0000"]}]}',
    "lone high surrogate": rb'{"a": "\ud800"}',
    "lone low surrogate": rb'{"a": "\uDC00"}',
    "surrogates in the wrong order": rb'{"a": "\udc00\ud800"}',
    "encoded surrogate": b'{"a": "\xed\xa0\x80"}',
    "NaN": b'{"a": NaN}',
    "Infinity": b'{"a": Infinity}',
    "minus Infinity": b'{"a": -Infinity}',
    "overflowing float": b'{"a": 1e400}',
    "65 bit integer": b'{"a": 9223372036854775808}',
    "negative 65 bit integer": b'{"a": -9223372036854775809}',
    "integer of a million digits": b'{"a": ' + b"9" * 1_000_000 + b"}",
    "duplicate key": b'{"a": 1, "a": 2}',
    "duplicate key deep inside": b'[{"b": {"a": 1, "a": 1}}]',
    "duplicate key by escape": rb'{"a": 1, "\u0061": 2}',
    "too deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "too deep objects": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
    "absurdly deep": b"[" * 200_000,
    "absurdly deep and closed": b"[" * 200_000 + b"]" * 200_000,
    "truncated": b'{"a": ',
    "two values": b"{} {}",
    "single quotes": b"{'a': 1}",
    "trailing comma": b"[1,]",
    "comment": b"{} // hello",
    "control character in a string": b'{"a": "\x01"}',
    "bare word": b"hello",
}


class TestStrictJson:
    @pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
    def test_refused(self, body):
        with pytest.raises(errors.InvalidRequest) as caught:
            parse_strict_json(body)
        assert len(caught.value.detail) < 120

    @pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
    def test_refused_by_an_endpoint_with_a_400(self, api, body):
        assert_error(api.generic("POST", "/failing", body, content_type="application/json"), 400, "INVALID_REQUEST")

    @pytest.mark.parametrize(
        ("body", "value"),
        [
            (b"", {}),
            (b" \r\n", {}),
            (b"null", None),
            (b"[]", []),
            (b'"x"', "x"),
            (b"9223372036854775807", 2**63 - 1),
            (b"-9223372036854775808", -(2**63)),
            (b"1.5e300", 1.5e300),
            (rb'{"smile": "\ud83d\ude00"}', {"smile": "😀"}),
            ('{"smile": "😀"}'.encode(), {"smile": "😀"}),
            (rb'"\\u0000"', "\\u0000"),
            (rb'"\u000a"', "\n"),
            (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
            (b"[" + b"{}," * 500 + b"1]", [{}] * 500 + [1]),
        ],
        ids=lambda value: repr(value)[:40],
    )
    def test_accepted(self, body, value):
        parsed = parse_strict_json(body)
        assert value is None or parsed == value

    def test_an_error_tells_the_place_and_not_the_content(self):
        with pytest.raises(errors.InvalidRequest, match=r"line 1, column 8") as caught:
            parse_strict_json(b'{"key": secret}'.replace(b"key", b"ke"))
        assert "secret" not in str(caught.value)


class Row:
    """Stands for a model instance on a page."""

    def __init__(self, pk):
        self.id = pk


class Rows(list):
    """Just enough of a QuerySet for a paginator."""

    def order_by(self, field):
        return Rows(sorted(self, key=lambda row: row.id, reverse=field.startswith("-")))

    def filter(self, **wanted):
        [(name, value)] = wanted.items()
        keep = (lambda row: row.id < int(value)) if name.endswith("__lt") else (lambda row: row.id > int(value))
        return Rows(filter(keep, self))

    def __getitem__(self, key):
        found = super().__getitem__(key)
        return Rows(found) if isinstance(key, slice) else found


def page(address):
    paginator = CursorPagination()
    request = APIView().initialize_request(APIRequestFactory().get(address))
    rows = paginator.paginate_queryset(Rows(map(Row, range(1, 11))), request)
    return [row.id for row in rows], paginator.get_next_link(), paginator.get_previous_link()


class TestCursorPagination:
    def test_pages_lead_from_one_to_the_next_and_back(self):
        first, next_link, previous_link = page("/rows?limit=4")
        assert (first, previous_link) == ([10, 9, 8, 7], None)
        second, next_link, back_link = page(next_link)
        assert second == [6, 5, 4, 3]
        assert page(next_link)[0] == [2, 1]
        assert page(next_link)[1] is None
        assert page(back_link)[0] == first

    @pytest.mark.parametrize("limit", ["0", "-1", "201", "abc", "1.5", "", "1e2", "٣", "9" * 5000, "%00"])
    def test_a_wrong_limit_is_refused(self, limit):
        with pytest.raises(errors.InvalidRequest):
            page(f"/rows?limit={limit}")

    @pytest.mark.parametrize("cursor", ["", "abc", "cD0xMDA=", "cj0xJnA9YWJj", "%00", "ü", "a:b:c"])
    def test_a_forged_cursor_is_refused(self, cursor):
        with pytest.raises(errors.InvalidRequest):
            page(f"/rows?cursor={cursor}")

    def test_a_cursor_of_another_list_is_refused(self):
        _, next_link, _ = page("/rows?limit=4")
        with pytest.raises(errors.InvalidRequest):
            page(next_link.replace("/rows", "/others"))
