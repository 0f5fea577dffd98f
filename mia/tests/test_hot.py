"""Native endpoints: bodies, errors, clients that leave."""

import asyncio
import json
from typing import Any, ClassVar

import pytest
from django.conf import settings
from redis.exceptions import ConnectionError as RedisConnectionError

from mia.lib.errors import NotFound, RateLimited
from mia.lib.hot import HotEndpoint, HotRequest, HotResponse


class Endpoint(HotEndpoint):
    """Does what its path says."""

    methods: ClassVar[frozenset[str]] = frozenset({"GET", "POST"})
    cancelled: ClassVar[list[str]] = []

    async def handle(self, request: HotRequest) -> HotResponse | None:
        match self.scope["path"]:
            case "/echo":
                return HotResponse({"query": request.query, "bearer": request.bearer, "data": request.json()})
            case "/missing":
                raise NotFound
            case "/limited":
                raise RateLimited(retry_after_s=7)
            case "/defect":
                raise ZeroDivisionError("a secret of ours")
            case "/no-redis":
                raise RedisConnectionError("redis.internal:6379")
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            self.cancelled.append(self.scope["path"])
            raise
        return None


async def call(path: str, *, method: str = "POST", body: bytes = b"{}", headers: Any = (), leaves: bool = False) -> Any:
    inbox: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    inbox.put_nowait({"type": "http.request", "body": body, "more_body": False})
    if leaves:
        inbox.put_nowait({"type": "http.disconnect"})
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "query_string": b"a=1&b=%C3%A9", "headers": list(headers)}
    await asyncio.wait_for(Endpoint.as_asgi()(scope, inbox.get, send), 5)
    return sent


def answer(path: str, **options: Any) -> tuple[int, dict[str, str], dict[str, Any]]:
    sent = asyncio.run(call(path, **options))
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, json.loads(b"".join(message.get("body", b"") for message in sent[1:]))


def test_a_request_is_read_and_answered() -> None:
    status, headers, data = answer("/echo", body=b'{"x": 1}', headers=[(b"authorization", b"Bearer mia_key")])
    assert (status, data) == (200, {"query": {"a": "1", "b": "é"}, "bearer": "mia_key", "data": {"x": 1}})
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"
    assert len(headers["x-request-id"]) == 32


def test_the_callers_request_id_comes_back() -> None:
    assert answer("/echo", headers=[(b"x-request-id", b"from-the-caller-1")])[1]["x-request-id"] == "from-the-caller-1"


@pytest.mark.parametrize(
    ("path", "options", "status", "code"),
    [
        ("/missing", {}, 404, "NOT_FOUND"),
        ("/limited", {}, 429, "RATE_LIMITED"),
        ("/echo", {"method": "DELETE"}, 405, "METHOD_NOT_ALLOWED"),
        ("/echo", {"body": b"[1]"}, 400, "INVALID_REQUEST"),
        ("/echo", {"body": b'{"x": NaN}'}, 400, "INVALID_REQUEST"),
        ("/echo", {"body": b'{"x": "\\u0000"}'}, 400, "INVALID_REQUEST"),
        ("/echo", {"body": b"\xff\xfe"}, 400, "INVALID_REQUEST"),
        ("/no-redis", {}, 503, "UNAVAILABLE"),
        ("/defect", {}, 500, "SERVER_ERROR"),
    ],
)
def test_every_failure_has_the_one_shape(path: str, options: dict[str, Any], status: int, code: str) -> None:
    got, _, data = answer(path, **options)
    assert (got, data["error_code"]) == (status, code)
    assert set(data) == {"detail", "error_code", "timestamp"}
    assert "secret" not in str(data)
    assert "internal" not in str(data)


def test_a_limit_says_when_to_come_again() -> None:
    assert answer("/limited")[1]["retry-after"] == "7"


def test_a_body_over_the_limit_is_refused() -> None:
    status, _, data = answer("/echo", body=b"x" * (settings.MAX_BODY_BYTES + 1))
    assert (status, data["error_code"]) == (413, "PAYLOAD_TOO_LARGE")


def test_work_is_cancelled_when_the_client_leaves() -> None:
    Endpoint.cancelled.clear()
    assert asyncio.run(call("/waits", leaves=True)) == []
    assert Endpoint.cancelled == ["/waits"]


def test_an_end_of_the_server_is_not_taken_for_a_client_that_left() -> None:
    async def scenario() -> None:
        task = asyncio.create_task(call("/waits"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scenario())
