"""Who a request's headers say is asking: shared by the API views and the hot lane."""

from __future__ import annotations

from dataclasses import dataclass

from channels.db import database_sync_to_async

from accounts.origins import is_allowed
from accounts.principals import Principal, PrincipalKind
from accounts.resolution import resolve_key, resolve_key_async
from accounts.tokens import resolve_token
from mia.lib.errors import NotAuthenticated, OriginNotAllowed

KEY_MARK = "mia_"
MAX_HEADER_CHARS = 16 * 1024


@dataclass(frozen=True)
class Credentials:
    """The headers that matter, as they came.

    `own_origin` is the scheme and host that the request was sent to, where Sec-Fetch-Site, which no script can set,
    says "same-origin": browsers leave Origin out of the GETs of a page to its own server.
    """

    authorization: str = ""
    api_key: str = ""
    origin: str | None = None
    own_origin: str | None = None

    @property
    def page_origin(self) -> str | None:
        return self.own_origin if self.origin is None else self.origin


def key_of(credentials: Credentials) -> str | None:
    """The text of the API key that the headers carry, or None where they carry none."""
    api_key, bearer = credentials.api_key.strip(), bearer_of(credentials.authorization)
    if bearer is not None and not bearer.startswith(KEY_MARK) and not api_key:
        return None
    if api_key and bearer is not None and bearer != api_key:
        raise NotAuthenticated("Send one credential, not two.")
    return api_key or bearer


def token_of(credentials: Credentials) -> str | None:
    """The JWT that the headers carry, or None where they carry none."""
    bearer = bearer_of(credentials.authorization)
    return None if bearer is None or bearer.startswith(KEY_MARK) else bearer


def bearer_of(authorization: str) -> str | None:
    """What follows Bearer; anything else in the header is a bad credential, and not the absence of one."""
    if not authorization.strip():
        return None
    scheme, _, text = authorization.strip().partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or " " in text or len(text) > MAX_HEADER_CHARS:
        raise NotAuthenticated("Send the credential as 'Authorization: Bearer …'.")
    return text


def check_origin(principal: Principal, credentials: Credentials) -> None:
    """Keeps a publishable key, which anybody can read in a page's source, to the pages it was made for."""
    if principal.kind != PrincipalKind.PUBLISHABLE:
        return
    if not is_allowed(credentials.page_origin, principal.allowed_origins):
        raise OriginNotAllowed


def principal_of_key(credentials: Credentials) -> Principal | None:
    key = key_of(credentials)
    if key is None:
        return None
    principal = resolve_key(key)
    check_origin(principal, credentials)
    return principal


def principal_of_token(credentials: Credentials) -> Principal | None:
    token = token_of(credentials)
    return None if token is None else resolve_token(token)


def principal_from_headers(credentials: Credentials) -> Principal | None:
    """The holder of the key or token in the headers; None when there is neither.

    Blocking: it may ask the database. Raises NotAuthenticated and OriginNotAllowed.
    """
    return principal_of_key(credentials) or principal_of_token(credentials)


async def principal_from_headers_async(credentials: Credentials) -> Principal | None:
    """The same for coroutines; a key whose verdict is remembered costs no thread."""
    key = key_of(credentials)
    if key is None:
        return await database_sync_to_async(principal_of_token, thread_sensitive=False)(credentials)
    principal = await resolve_key_async(key)
    check_origin(principal, credentials)
    return principal
