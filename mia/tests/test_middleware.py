"""What every request passes on its way through Django."""

import asyncio
import io
import json
import logging

import pytest
from asgiref.testing import ApplicationCommunicator
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, JsonResponse
from django.test import Client
from django.urls import path
from django.views import View
from rest_framework.response import Response
from rest_framework.views import APIView

from mia.lib.bridge import WsgiBridge
from mia.lib.logging import ContextFilter, current_request_id
from mia.lib.middleware import ADMIN_POLICY, DATA_POLICY, DOCS_POLICY, PAGE_POLICY, QUEUES_POLICY, choose_request_id

LIMIT = 1000


class EchoView(APIView):
    authentication_classes = []
    permission_classes = []
    reached = 0

    def post(self, request):
        type(self).reached += 1
        return Response({"received": request.data})


class UploadView(View):
    max_body_bytes = 5000

    def post(self, request):
        return JsonResponse({"length": len(request.body)})


def page_that_logs(request):
    logging.getLogger("chats").warning("Somebody is here")
    return HttpResponse()


def framed_page(request):
    return HttpResponse("x", headers={"Content-Security-Policy": "frame-ancestors *", "Referrer-Policy": "no-referrer"})


urlpatterns = [
    path("echo", EchoView.as_view()),
    path("upload", UploadView.as_view()),
    path("id", lambda request: JsonResponse({"id": current_request_id()})),
    path("logs", page_that_logs),
    path("page", lambda request: HttpResponse("<p>")),
    path("framed", framed_page),
    path("plain", lambda request: HttpResponse("x", content_type="text/plain")),
    path("cached", lambda request: JsonResponse({}, headers={"Cache-Control": "max-age=60"})),
    path("docs", lambda request: HttpResponse("<p>")),
    path("redoc", lambda request: HttpResponse("<p>")),
    path("admin/", lambda request: HttpResponse("<p>")),
    path("admin/rq/queues/", lambda request: HttpResponse("<p>")),
]


@pytest.fixture(autouse=True)
def _only_ours(settings):
    settings.ROOT_URLCONF = __name__
    settings.MAX_BODY_BYTES = LIMIT
    settings.MIDDLEWARE = [
        "mia.lib.middleware.RequestIdMiddleware",
        "mia.lib.middleware.BodyLimitMiddleware",
        "mia.lib.middleware.SecurityHeadersMiddleware",
    ]
    EchoView.reached = 0


class TestRequestId:
    def test_a_sane_id_is_taken_and_echoed(self, client):
        response = client.get("/id", headers={"X-Request-Id": "trace-01.AB_c"})
        assert response.json()["id"] == response.headers["X-Request-Id"] == "trace-01.AB_c"

    @pytest.mark.parametrize(
        "offered", ["short", "x" * 65, "with space", "line\r\nbreak", "ümlaut-id", "<script>1", "", "id\x1b[2J-abc"]
    )
    def test_any_other_id_is_replaced(self, offered):
        assert choose_request_id(offered) != offered

    def test_without_one_there_is_a_new_one_each_time(self, client):
        first, second = (client.get("/id").headers["X-Request-Id"] for _ in range(2))
        assert first != second
        assert len(first) == 32

    def test_errors_carry_it_too(self, client):
        assert client.get("/nothing").headers["X-Request-Id"]

    def test_it_does_not_outlive_its_request(self, client):
        client.get("/id")
        assert current_request_id() == ""

    def test_log_lines_of_the_request_carry_it(self, client, caplog):
        caplog.handler.addFilter(ContextFilter())
        client.get("/logs", headers={"X-Request-Id": "trace-0001"})
        assert {record.request_id for record in caplog.records} == {"trace-0001"}


class TestBodyLimit:
    def post(self, client, body, address="/echo", **extra):
        return client.generic("POST", address, body, content_type="application/json", **extra)

    def test_a_body_of_exactly_the_limit_is_read(self, client):
        body = b'"' + b"x" * (LIMIT - 2) + b'"'
        assert self.post(client, body).status_code == 200

    def test_a_larger_one_is_refused_before_the_view_is_reached(self, client):
        response = self.post(client, b'"' + b"x" * LIMIT + b'"')
        assert (response.status_code, response.json()["error_code"]) == (413, "PAYLOAD_TOO_LARGE")
        assert EchoView.reached == 0

    def test_a_lie_about_the_length_gains_nothing(self, client):
        response = self.post(client, b'{"a": 1}' + b" " * 50_000, CONTENT_LENGTH="8")
        assert response.json() == {"received": {"a": 1}}

    @pytest.mark.parametrize("length", ["abc", "-1", "1e3", "0x10", "+5", "٣"])
    def test_a_length_that_is_no_number_is_a_400(self, client, length):
        assert self.post(client, b"{}", CONTENT_LENGTH=length).status_code == 400

    @pytest.mark.parametrize("length", ["1" * 30, "9" * 5000])
    def test_an_absurd_length_is_refused(self, client, length):
        assert self.post(client, b"{}", CONTENT_LENGTH=length).status_code == 413

    def test_a_view_may_take_more(self, client):
        assert self.post(client, b"x" * 5000, "/upload").json() == {"length": 5000}
        assert self.post(client, b"x" * 5001, "/upload").status_code == 413

    def test_an_address_that_does_not_exist_stays_a_404(self, client):
        assert self.post(client, b"x" * 5000, "/nothing").status_code == 404

    @pytest.mark.parametrize("address", ["/id?q=%00", "/id?q=a%00b&c=d", "/i%00d"])
    def test_a_nul_in_the_address_is_a_400(self, client, address):
        response = client.get(address)
        assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_REQUEST")


class TestChunkedBody:
    """As a WSGI server hands over a body of undeclared length: an open stream and no CONTENT_LENGTH."""

    def post(self, body):
        environ = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": ""}
        return Client().generic("POST", "/echo", b"", CONTENT_TYPE="application/json", **environ)

    def test_it_is_read(self):
        assert self.post(b'{"a": 1}').json() == {"received": {"a": 1}}

    def test_it_is_read_up_to_the_limit(self):
        response = self.post(b'"' + b"x" * 50_000 + b'"')
        assert (response.status_code, EchoView.reached) == (413, 0)

    def test_an_empty_one_is_empty(self):
        assert self.post(b"").json() == {"received": {}}


class TestSecurityHeaders:
    @pytest.mark.parametrize("address", ["/id", "/page", "/docs", "/admin/", "/plain", "/nothing"])
    def test_every_response_has_them(self, client, address):
        headers = client.get(address).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "strict-origin-when-cross-origin"
        assert "geolocation=()" in headers["Permissions-Policy"]
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]

    @pytest.mark.parametrize(
        ("address", "policy"),
        [
            ("/id", DATA_POLICY),
            ("/plain", DATA_POLICY),
            ("/page", PAGE_POLICY),
            ("/docs", DOCS_POLICY),
            ("/redoc", DOCS_POLICY),
            ("/admin/", ADMIN_POLICY),
            ("/admin/rq/queues/", QUEUES_POLICY),
        ],
    )
    def test_the_policy_is_that_of_the_kind_of_page(self, client, address, policy):
        assert client.get(address).headers["Content-Security-Policy"] == policy

    @pytest.mark.parametrize("policy", [DATA_POLICY, PAGE_POLICY, DOCS_POLICY, ADMIN_POLICY])
    def test_no_policy_lets_a_page_run_scripts_of_its_own_or_of_others(self, policy):
        scripts = next((rule for rule in policy.split("; ") if rule.startswith("script-src")), "")
        assert "unsafe-inline" not in scripts
        assert "http" not in policy
        assert "*" not in policy

    def test_only_the_admin_may_evaluate(self):
        assert ["unsafe-eval" in policy for policy in (DATA_POLICY, PAGE_POLICY, DOCS_POLICY, ADMIN_POLICY)] == [
            False,
            False,
            False,
            True,
        ]

    def test_what_a_view_decided_stands(self, client):
        headers = client.get("/framed").headers
        assert headers["Content-Security-Policy"] == "frame-ancestors *"
        assert headers["Referrer-Policy"] == "no-referrer"

    def test_data_is_not_cached_unless_the_view_says_so(self, client):
        assert client.get("/id").headers["Cache-Control"] == "no-store"
        assert client.get("/cached").headers["Cache-Control"] == "max-age=60"
        assert "Cache-Control" not in client.get("/page").headers


class TestChunkedBodyThroughTheBridge:
    """The same as the shipped server hands it over."""

    async def post(self, body):
        headers = [(b"transfer-encoding", b"chunked"), (b"content-type", b"application/json"), (b"host", b"localhost")]
        scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/echo", "raw_path": b"/echo"}
        scope |= {"query_string": b"", "headers": headers, "scheme": "http", "server": ("localhost", 80)}
        scope |= {"client": ("127.0.0.1", 1), "root_path": ""}
        server = ApplicationCommunicator(WsgiBridge(WSGIHandler(), threads=1), scope)
        await server.send_input({"type": "http.request", "body": body[:10], "more_body": True})
        await server.send_input({"type": "http.request", "body": body[10:], "more_body": False})
        start = await server.receive_output(timeout=5)
        reply = await server.receive_output(timeout=5)
        return start["status"], json.loads(reply["body"])

    def test_it_is_read(self):
        assert asyncio.run(self.post(b'{"a": "' + b"x" * 500 + b'"}')) == (200, {"received": {"a": "x" * 500}})

    def test_it_is_read_up_to_the_limit(self):
        status, reply = asyncio.run(self.post(b'"' + b"x" * 50_000 + b'"'))
        assert (status, reply["error_code"], EchoView.reached) == (413, "PAYLOAD_TOO_LARGE", 0)
