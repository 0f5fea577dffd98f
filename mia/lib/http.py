"""Outbound HTTP to addresses that somebody else chose: public hosts only, small, soon over."""

import contextlib
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin

import requests
from django.conf import settings
from requests.exceptions import (
    ContentDecodingError,
    InvalidSchema,
    InvalidURL,
    MissingSchema,
    RequestException,
    SSLError,
)
from requests_hardened.ip_filter import InvalidIPAddress
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, parse_url

from mia.lib.errors import ApplicationError, InvalidRequest
from mia.lib.outbound import Deadline, OutboundSession
from mia.lib.strict_json import parse_strict_json

MAX_REDIRECTS: Final = 3
MAX_URL_LENGTH: Final = 2048
READ_BYTES: Final = 16 * 1024
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
JSON_TYPES: Final = frozenset({"application/json", "application/jwk-set+json", "application/jrd+json"})
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
WORTH_ANOTHER_TRY: Final = frozenset({408, 425, 429})


class OutboundError(ApplicationError):
    """A request to somebody else's server failed; `permanent` says that asking again will not help.

    A port translates it into its own error; one that escapes tells the caller nothing of the address.
    """

    status = 502
    code = "OUTBOUND_FAILED"
    default_detail = "A server that this request depends on could not be used."

    def __init__(self, reason: str, *, permanent: bool, http_status: int | None = None) -> None:
        super().__init__()
        self.reason = reason
        self.permanent = permanent
        self.http_status = http_status

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Fetched:
    """A whole, successful reply; `url` is where the redirects ended, `media_type` is bare and in lower case."""

    url: str
    status: int
    media_type: str
    encoding: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; what does not decode becomes U+FFFD."""
        try:
            return self.body.decode(self.encoding, errors="replace")
        except LookupError:
            return self.body.decode(errors="replace")


def fetch(
    url: str,
    *,
    max_bytes: int = 2_000_000,
    timeout_s: float = 20.0,
    content_types: Collection[str] = (),
    headers: Mapping[str, str] | None = None,
    may_follow: Callable[[str], bool] | None = None,
) -> Fetched:
    """GETs a public address, following up to three redirects; raises OutboundError.

    `max_bytes` counts decompressed bytes, `timeout_s` covers everything but name resolution, `content_types` are the
    media types taken (any, when empty). `headers` do not follow a redirect to another host. `may_follow` is asked
    before each redirect; where it says no, the reply is an error with the status of the redirect.
    """
    with Deadline(timeout_s) as deadline, OutboundSession(deadline) as session:
        for _ in range(MAX_REDIRECTS + 1):
            with _translated(deadline), session.start(_prepare(session, url, headers)) as response:
                if response.status_code not in REDIRECTS:
                    _check_head(response, max_bytes, content_types)
                    return _fetched(response, _read_body(response, max_bytes))
                url, headers = _next_hop(response, headers)
                if may_follow is not None and not may_follow(url):
                    raise OutboundError(
                        "it redirects to where we may not go", permanent=True, http_status=response.status_code
                    )
    raise OutboundError("it redirects too often", permanent=True)


def get_json(
    url: str, *, max_bytes: int = 262_144, timeout_s: float = 5.0, headers: Mapping[str, str] | None = None
) -> object:
    """GETs a JSON document of a public address; raises OutboundError."""
    reply = fetch(url, max_bytes=max_bytes, timeout_s=timeout_s, content_types=JSON_TYPES, headers=headers)
    try:
        return parse_strict_json(reply.body)
    except InvalidRequest as error:
        raise OutboundError("the reply is not valid JSON", permanent=True) from error


def post_json(
    url: str,
    body: object,
    *,
    max_bytes: int = 2_000_000,
    timeout_s: float = 20.0,
    headers: Mapping[str, str] | None = None,
) -> object:
    """POSTs JSON to a public address and reads JSON; no redirect is followed. Raises OutboundError."""
    sent = {"Content-Type": "application/json", "Accept": "application/json", **(headers or {})}
    reply = post_bytes(
        url, json.dumps(body).encode(), headers=sent, max_bytes=max_bytes, timeout_s=timeout_s, content_types=JSON_TYPES
    )
    try:
        return parse_strict_json(reply.body)
    except InvalidRequest as error:
        raise OutboundError("the reply is not valid JSON", permanent=True) from error


def post_bytes(
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str],
    max_bytes: int = 64 * 1024,
    timeout_s: float = 20.0,
    content_types: Collection[str] = (),
    method: str = "POST",
) -> Fetched:
    """Sends a body to a public address; no redirect is followed. Raises OutboundError."""
    with Deadline(timeout_s) as deadline, OutboundSession(deadline) as session:
        request = _prepare(session, url, headers, method=method, data=body)
        with _translated(deadline), session.start(request) as response:
            _check_head(response, max_bytes, content_types)
            return _fetched(response, _read_body(response, max_bytes))


@contextlib.contextmanager
def _translated(deadline: Deadline) -> Iterator[None]:
    """Turns what the HTTP libraries raise into OutboundError, and an exchange that was cut off into a timeout."""
    try:
        yield
    except InvalidIPAddress as error:
        raise OutboundError("the address is not public", permanent=True) from error
    except (InvalidURL, InvalidSchema, MissingSchema, LocationParseError, ValueError) as error:
        raise OutboundError("the address is malformed", permanent=True) from error
    except (SSLError, ContentDecodingError) as error:
        raise OutboundError("the reply or its certificate is malformed", permanent=True) from error
    except (RequestException, HTTPError, OSError) as error:
        reason = "it took too long" if deadline.passed else f"the connection failed ({type(error).__name__})"
        raise OutboundError(reason, permanent=False) from error
    if deadline.passed:
        raise OutboundError("it took too long", permanent=False)


def _prepare(
    session: requests.Session,
    url: str,
    headers: Mapping[str, str] | None,
    *,
    method: str = "GET",
    data: bytes | None = None,
) -> requests.PreparedRequest:
    """The request, checked as the library that will send it reads it: two parsers may see two hosts in one address."""
    if len(url) > MAX_URL_LENGTH or any(character <= " " or character in "\x7f\\" for character in url):
        raise OutboundError("the address is malformed", permanent=True)
    prepared = session.prepare_request(requests.Request(method, url, headers=dict(headers or {}), data=data))
    parts = parse_url(str(prepared.url))
    if parts.scheme not in DEFAULT_PORTS or not parts.host or parts.auth is not None:
        raise OutboundError("the address is not a plain http or https one", permanent=True)
    if _port(parts) not in settings.OUTBOUND_ALLOWED_PORTS:
        raise OutboundError("the port is not allowed", permanent=True)
    return prepared


def _port(parts: Url) -> int | None:
    return parts.port or DEFAULT_PORTS.get(parts.scheme or "")


def _next_hop(response: requests.Response, headers: Mapping[str, str] | None) -> tuple[str, Mapping[str, str] | None]:
    location = response.headers.get("Location")
    if not location:
        raise OutboundError("it redirects to nowhere", permanent=True, http_status=response.status_code)
    here = parse_url(response.url)
    target = urljoin(response.url, location)
    there = parse_url(target)
    if here.scheme == "https" and there.scheme != "https":
        raise OutboundError("it redirects from https to http", permanent=True, http_status=response.status_code)
    same_host = (here.scheme, here.host, _port(here)) == (there.scheme, there.host, _port(there))
    return target, headers if same_host else None


def _check_head(response: requests.Response, max_bytes: int, content_types: Collection[str]) -> None:
    status = response.status_code
    if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        permanent = status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in WORTH_ANOTHER_TRY
        raise OutboundError(f"it answered {status}", permanent=permanent, http_status=status)
    if content_types and _content_type(response).get_content_type() not in content_types:
        raise OutboundError("the reply has another content type", permanent=True, http_status=status)
    declared = response.headers.get("Content-Length", "")
    if declared.isdigit() and int(declared) > max_bytes:
        raise OutboundError(f"the reply is larger than {max_bytes} bytes", permanent=True, http_status=status)


def _read_body(response: requests.Response, max_bytes: int) -> bytes:
    body = bytearray()
    for chunk in response.iter_content(READ_BYTES):
        body += chunk
        if len(body) > max_bytes:
            raise OutboundError(f"the reply is larger than {max_bytes} bytes", permanent=True)
    return bytes(body)


def _fetched(response: requests.Response, body: bytes) -> Fetched:
    content_type = _content_type(response)
    return Fetched(
        url=response.url,
        status=response.status_code,
        media_type=content_type.get_content_type(),
        encoding=str(content_type.get_content_charset("utf-8")),
        headers={name.lower(): value for name, value in response.headers.items()},
        body=body,
    )


def _content_type(response: requests.Response) -> Message:
    message = Message()
    message["Content-Type"] = response.headers.get("Content-Type", "application/octet-stream")
    return message
