"""The base of the sockets that the admin's pages open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar
from urllib.parse import urlsplit

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.conf import settings
from django.http.request import validate_host

from accounts.middleware import scope_of_user
from accounts.models import User
from accounts.permissions import Right, has_right
from accounts.tenancy import undoable
from mia.lib.errors import InvalidRequest
from mia.lib.strict_json import parse_strict_json

POLICY_VIOLATION = 1008
MAX_REASON_BYTES = 123
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Refused(Exception):
    """The socket may not be used; the text is the reason that the other side is told."""


class StaffConsumer(AsyncJsonWebsocketConsumer):
    """A socket for staff who are signed in to the admin, from the admin's own pages only.

    Subclasses set `required_right` and implement `joined`. All database work goes through `in_scope`, which looks the
    user up again each time: who loses the role or the session's user loses the socket at the next message.
    """

    required_right: Right = Right.READ
    user_id: int

    async def connect(self) -> None:
        await self.accept()
        try:
            self._check_origin()
            self.user_id = self._signed_in_user_id()
            await self.in_scope(_check_nothing)
            await self.joined()
        except Refused as refusal:
            await self.refuse(str(refusal))

    async def joined(self) -> None:
        """Called once the socket may be used; joins groups and sends the first state."""

    async def refuse(self, reason: str) -> None:
        await self.close(code=POLICY_VIOLATION, reason=reason[:MAX_REASON_BYTES])

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None, **kwargs: object) -> None:
        try:
            await self.received(read_message(text_data))
        except Refused as refusal:
            await self.refuse(str(refusal))

    async def received(self, content: object) -> None:
        """Called with each message of the other side, decoded and of unknown shape."""

    async def in_scope(
        self,
        function: Callable[Concatenate[User, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Runs blocking code in a thread, in a transaction that sees what the user may see now. Raises Refused."""
        return await database_sync_to_async(self._run, thread_sensitive=False)(function, *args, **kwargs)

    def _run(
        self,
        function: Callable[Concatenate[User, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        user = User.objects.filter(pk=self.user_id).first()
        if user is None or not has_right(user, self.required_right):
            raise Refused("You may not use this page.")
        with undoable(), scope_of_user(user):
            return function(user, *args, **kwargs)

    def _check_origin(self) -> None:
        headers = dict(self.scope.get("headers", []))
        host = urlsplit(headers.get(b"origin", b"").decode("latin-1")).hostname
        allowed = settings.ALLOWED_HOSTS or (["localhost", "127.0.0.1", "[::1]"] if settings.DEBUG else [])
        if host is None or not validate_host(f"[{host}]" if ":" in host else host, allowed):
            raise Refused("This page may not open a socket here.")

    def _signed_in_user_id(self) -> int:
        user = self.scope.get("user")
        if user is None or not user.is_authenticated:
            raise Refused("Sign in to the admin first.")
        return int(user.pk)


def read_message(text: str | None) -> object:
    """The value of a text frame. Raises Refused."""
    if text is None:
        raise Refused("Send text frames.")
    try:
        return parse_strict_json(text.encode("utf-8", errors="surrogatepass"))
    except InvalidRequest as error:
        raise Refused(str(error)) from error


def _check_nothing(user: User) -> None:
    """What `in_scope` checks before it is all that matters."""
