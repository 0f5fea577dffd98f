"""The only place that speaks HTTP with the platform."""

import json
import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

import requests
from requests.auth import AuthBase
from requests.utils import get_environ_proxies

from gpu_miner import VERSION
from gpu_miner.errors import PlatformError, Refused, Rejected, Unavailable, Unreachable
from gpu_miner.protocol import (
    Chunk,
    ChunksReply,
    Heartbeat,
    HeartbeatReply,
    JsonObject,
    PollReply,
    Registration,
    Result,
    as_object,
    as_text,
    parse_chunks,
    parse_heartbeat,
    parse_poll,
)

logger = logging.getLogger(__name__)

AGENT = f"mia-miner/{VERSION}"
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 20.0
# A heartbeat must have its second chance while the lease still runs.
HEARTBEAT_TIMEOUT_S = 4.0
# The platform may hold a poll a little longer than asked.
POLL_GRACE_S = 10.0
MAX_REPLY_BYTES = 16 * 1024 * 1024
TRANSIENT_STATUSES = frozenset({408, 425, 429})


@dataclass(frozen=True)
class Reply:
    """A reply with a status below 400."""

    status: int
    body: JsonObject


class BearerKey(AuthBase):
    """Sets the key itself, so that a ~/.netrc entry for the host cannot replace it."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class PlatformClient:
    """Typed calls to one platform; every call that runs has a connection of its own, and a timeout."""

    def __init__(self, url: str, on_config: Callable[[object], None], instance: str = "") -> None:
        self.url = url.rstrip("/")
        self.instance = instance or str(uuid4())
        self._on_config = on_config
        self._key = ""
        self._idle: deque[requests.Session] = deque()

    def use_key(self, key: str) -> None:
        self._key = key

    def register(self, registration: Registration) -> Reply:
        return self._post("/register_miner", registration)

    def next_jobs(self, miner_id: str, *, slots: int, idle: bool, wait_ms: int, poll_id: str) -> PollReply:
        """Hold for work; the same `poll_id` again brings the same offers again, when a reply was lost."""
        reply = self._call(
            "GET",
            "/job/next",
            query={"miner_id": miner_id, "slots": slots, "idle": int(idle), "wait": math.ceil(wait_ms / 1000)},
            headers={"X-MIA-Poll": poll_id},
            read_timeout_s=wait_ms / 1000 + POLL_GRACE_S,
        )
        return parse_poll(reply.body)

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatReply:
        return parse_heartbeat(self._post("/heartbeat", heartbeat, read_timeout_s=HEARTBEAT_TIMEOUT_S).body)

    def chunks(self, chunks: list[Chunk]) -> ChunksReply:
        return parse_chunks(self._post("/job/chunks", {"jobs": chunks}).body)

    def result(self, result: Result) -> JsonObject:
        return self._post("/job/result", result).body

    def own_figures(self) -> JsonObject:
        """What the platform says of this miner: its trust, its earnings, why attempts did not count."""
        return self._call("GET", "/miners/me").body

    def platforms_time(self) -> str:
        """The platform's clock in ISO 8601; every refusal carries it, so the miner asks what only a key may see."""
        try:
            return as_text(PlatformClient(self.url, self._on_config).own_figures().get("timestamp"))
        except PlatformError as error:
            return error.timestamp

    def health(self) -> Reply:
        """Whether a platform is there at all; needs no key."""
        return self._call("GET", "/health")

    def set_status(self, miner_id: str, status: str) -> None:
        self._post(f"/miner/{miner_id}/status", {"status": status}, read_timeout_s=HEARTBEAT_TIMEOUT_S)

    def _post(self, path: str, body: Mapping[str, object], read_timeout_s: float = READ_TIMEOUT_S) -> Reply:
        return self._call("POST", path, body=body, read_timeout_s=read_timeout_s)

    def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, object] | None = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
        read_timeout_s: float = READ_TIMEOUT_S,
    ) -> Reply:
        # Not requests' own encoder: it escapes every non-ASCII character to six bytes, three times the traffic.
        data = json.dumps(body, ensure_ascii=False).encode() if body is not None else None
        extra = {"Content-Type": "application/json; charset=utf-8"} if data is not None else {}
        try:
            with (
                self._session() as session,
                session.request(
                    method,
                    self.url + path,
                    params=query,
                    data=data,
                    headers={**extra, **(headers or {})},
                    auth=BearerKey(self._key),
                    timeout=(CONNECT_TIMEOUT_S, read_timeout_s),
                    allow_redirects=False,
                    stream=True,
                ) as response,
            ):
                return self._read(response)
        except requests.RequestException as error:
            raise Unreachable(_plain_words(error)) from error

    def _read(self, response: requests.Response) -> Reply:
        raw = _limited(response)
        body = _decoded(raw)
        if response.status_code >= 300:
            raise _refusal(response, body)
        if body is None:
            raise Unreachable("the reply is not JSON; is this address a MIA platform?", status=response.status_code)
        if body.get("config") is not None:
            self._on_config(body["config"])
        return Reply(response.status_code, body)

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        """A connection that is open already where there is one; the last that was used, so that others can close."""
        try:
            session = self._idle.pop()
        except IndexError:
            session = self._new_session()
        try:
            yield session
        finally:
            self._idle.append(session)

    def _new_session(self) -> requests.Session:
        session = requests.Session()
        session.headers.update({"User-Agent": AGENT, "Accept": "application/json", "X-MIA-Instance": self.instance})
        # What the environment says of proxies and certificates, asked once instead of with every request.
        session.trust_env = False
        session.proxies = get_environ_proxies(self.url)
        session.verify = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True
        return session


def _limited(response: requests.Response) -> bytes:
    raw = b""
    for block in response.iter_content(64 * 1024):
        raw += block
        if len(raw) > MAX_REPLY_BYTES:
            raise Unreachable("the reply is larger than any reply of a MIA platform", status=response.status_code)
    return raw


def _decoded(raw: bytes) -> JsonObject | None:
    try:
        body = json.loads(raw)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _refusal(response: requests.Response, body: JsonObject | None) -> PlatformError:
    status = response.status_code
    kind = _error_kind(status)
    return kind(
        _detail(response, body or {}),
        status=status,
        code=as_text((body or {}).get("error_code")),
        retry_after_s=_seconds(response.headers.get("Retry-After")),
        timestamp=as_text((body or {}).get("timestamp")),
    )


def _error_kind(status: int) -> type[PlatformError]:
    if status in (401, 403):
        return Refused
    if status >= 500 or status in TRANSIENT_STATUSES:
        return Unavailable
    return Rejected


def _detail(response: requests.Response, body: JsonObject) -> str:
    if 300 <= response.status_code < 400:
        return f"the address redirects to {response.headers.get('Location', '?')}; use that one as --url"
    fields = as_object(body.get("detail"))
    if fields:
        return "; ".join(f"{name}: {problem}" for name, problem in fields.items())
    return as_text(body.get("detail")) or response.reason or f"HTTP {response.status_code}"


def _seconds(header: str | None) -> float | None:
    """Retry-After as seconds; its date form would need a trusted clock and is ignored."""
    return float(header) if header and header.strip().isdigit() else None


def _plain_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no connection within 5 seconds"
    if isinstance(error, requests.Timeout):
        return "no reply in time"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the secure connection failed: {error}"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return str(error) or type(error).__name__
