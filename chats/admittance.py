"""How the native lane lets somebody follow a conversation: by token, without a thread, or by a credential."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from channels.db import database_sync_to_async

from accounts.api import scope_of
from accounts.choices import KeyScope
from accounts.headers import Credentials, principal_from_headers
from accounts.origins import some_live_key_serves
from accounts.principals import Principal
from chats import services
from chats.access import CHAT_KINDS
from chats.snapshots import Snapshot, read_snapshot
from chats.tokens import Pass, read_session_token, read_stream_token
from mia.lib.errors import Forbidden, NotAuthenticated, NotFound, OriginNotAllowed
from mia.lib.hot import Headers, HotRequest

SESSION_HEADER = "x-session-token"
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Admitted:
    """Somebody who may follow, what the conversation was like then, and until when they may (in Unix time)."""

    shown: Pass
    snapshot: Snapshot
    expires_at: float | None = None


async def admit(request: HotRequest, session_id: UUID) -> Admitted:
    """Raises NotAuthenticated, NotFound, OriginNotAllowed, Unavailable."""
    shown = pass_of(request, session_id)
    expires_at = None
    if shown is None:
        shown, expires_at = await _pass_of_principal(request, session_id)
        return Admitted(shown, await _read(shown, request), expires_at)
    snapshot = await _read(shown, request)
    if not (snapshot.serves_origin or is_own_page(request.headers)):
        raise OriginNotAllowed
    return Admitted(shown, snapshot)


def pass_of(request: HotRequest, session_id: UUID) -> Pass | None:
    """What the visitor's token says; None where the request carries none."""
    stream, session = request.query.get("stream_token"), request.headers.get(SESSION_HEADER)
    if not stream and not session:
        return None
    shown = read_stream_token(stream) if stream else read_session_token(session or "")
    if shown is None:
        raise NotAuthenticated("The token is not valid or has expired.")
    if shown.conversation_id != session_id:
        raise NotFound("There is no such session.")
    return shown


def is_own_page(headers: Headers) -> bool:
    """No page of somebody else's: no browser at all, or a page that this server sent."""
    origin = headers.get("origin")
    return not origin or urlsplit(origin).netloc == headers.get("host")


async def cors_headers(request: HotRequest, *, is_served: bool | None = None) -> dict[str, str]:
    """What lets the page read the answer; `is_served` spares the question whether some key names it."""
    origin = request.headers.get("origin")
    if not origin:
        return {}
    if is_served is None:
        is_served = await in_thread(some_live_key_serves)(origin)
    headers = {"vary": "Origin"}
    return {**headers, "access-control-allow-origin": origin} if is_served else headers


def in_thread(function: Callable[Arguments, Result]) -> Callable[Arguments, Coroutine[Any, Any, Result]]:
    """Blocking code for a coroutine: any thread of the small default pool, and no database connection kept."""
    return database_sync_to_async(function, thread_sensitive=False)


async def _read(shown: Pass, request: HotRequest) -> Snapshot:
    return await read_snapshot(
        conversation=shown.conversation_id,
        business_id=shown.business_id,
        origin=request.headers.get("origin", ""),
    )


async def _pass_of_principal(request: HotRequest, session_id: UUID) -> tuple[Pass, float | None]:
    credentials = Credentials(
        authorization=request.headers.get("authorization", ""),
        api_key=request.headers.get("x-api-key", ""),
        origin=request.headers.get("origin"),
    )
    shown, principal = await in_thread(_open_as_principal)(credentials, session_id)
    return shown, expiry_of(principal)


def expiry_of(principal: Principal) -> float | None:
    expires_at = principal.claims.get("exp")
    return float(expires_at) if isinstance(expires_at, int | float) else None


def _open_as_principal(credentials: Credentials, session_id: UUID) -> tuple[Pass, Principal]:
    principal = principal_from_headers(credentials)
    if principal is None:
        raise NotAuthenticated
    if principal.kind not in CHAT_KINDS or not principal.may(KeyScope.CHAT):
        raise Forbidden
    with scope_of(principal):
        conversation = services.open_stream(caller=services.Caller(principal), session_id=session_id)
    return Pass(conversation.public_id, conversation.business_id), principal
