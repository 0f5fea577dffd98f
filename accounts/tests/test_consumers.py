"""The base of staff sockets: who may open one, and for how long."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import AnonymousUser

from accounts.consumers import Refused, StaffConsumer
from accounts.models import ApiKey, Business, Membership, User
from accounts.permissions import Right
from accounts.tenancy import platform_scope
from accounts.tests.factories import ApiKeyFactory, MembershipFactory, UserFactory

pytestmark = pytest.mark.django_db(transaction=True)

GOOD_ORIGIN = b"http://testserver"


def key_ids(user: User) -> list[int]:
    return list(ApiKey.objects.order_by("pk").values_list("pk", flat=True))


class StaffSocket(WebsocketCommunicator):
    """Channels' own patches away what closes database connections, and would leave one per thread in the pool."""

    send_input = ApplicationCommunicator.send_input
    receive_output = ApplicationCommunicator.receive_output


class KeysConsumer(StaffConsumer):
    """Tells which keys the user sees, whenever asked."""

    required_right = Right.MANAGE

    async def joined(self) -> None:
        await self.send_json({"hello": await self.in_scope(key_ids)})

    async def received(self, content: object) -> None:
        if content == "refuse me":
            raise Refused("As you wish.")
        await self.send_json({"keys": await self.in_scope(key_ids), "echo": content})


async def in_thread(function: Callable[..., Any], *args: object) -> Any:
    return await database_sync_to_async(function)(*args)


def open_socket(user: User | AnonymousUser | None, origin: bytes | None = GOOD_ORIGIN) -> StaffSocket:
    headers = [] if origin is None else [(b"origin", origin)]
    socket = StaffSocket(KeysConsumer.as_asgi(), "/ws/keys/", headers=headers)
    if user is not None:
        socket.scope["user"] = user
    return socket


async def refusal(socket: StaffSocket) -> tuple[int, str]:
    """The close code and the reason, after the connection was accepted."""
    message = await socket.receive_output(timeout=5)
    await socket.disconnect()
    return message["code"], message.get("reason", "")


@pytest.fixture
def owner_key() -> ApiKey:
    key = ApiKeyFactory()
    ApiKeyFactory()
    MembershipFactory(business=key.business, user__email="alice@bicycles.example", role="owner")
    return key


def owner() -> User:
    return User.objects.get(email="alice@bicycles.example")


@pytest.mark.asyncio
async def test_an_owner_sees_the_rows_of_their_business(owner_key: ApiKey) -> None:
    socket = open_socket(await in_thread(owner))
    assert (await socket.connect(timeout=5))[0]
    assert await socket.receive_json_from(timeout=5) == {"hello": [owner_key.pk]}
    await socket.send_json_to({"a": 1})
    assert await socket.receive_json_from(timeout=5) == {"keys": [owner_key.pk], "echo": {"a": 1}}
    await socket.disconnect()


@pytest.mark.asyncio
@pytest.mark.parametrize("origin", [None, b"", b"null", b"https://evil.example", b"http://testserver.evil.example"])
async def test_foreign_pages_are_refused_with_a_reason(origin: bytes | None, owner_key: ApiKey) -> None:
    socket = open_socket(await in_thread(owner), origin)
    await socket.connect(timeout=5)
    assert await refusal(socket) == (1008, "This page may not open a socket here.")


@pytest.mark.asyncio
@pytest.mark.parametrize("user", [None, AnonymousUser()])
async def test_whoever_is_not_signed_in_is_refused(user: AnonymousUser | None) -> None:
    socket = open_socket(user)
    await socket.connect(timeout=5)
    assert await refusal(socket) == (1008, "Sign in to the admin first.")


@pytest.mark.asyncio
async def test_whoever_lacks_the_right_is_refused() -> None:
    agent = await in_thread(lambda: MembershipFactory(role="agent").user)
    stranger = await in_thread(UserFactory)
    for user in (agent, stranger):
        socket = open_socket(user)
        await socket.connect(timeout=5)
        assert await refusal(socket) == (1008, "You may not use this page.")


def lose_role(business: Business) -> None:
    with platform_scope():
        Membership.objects.filter(business=business).update(role="viewer")


def lose_login(business: Business) -> None:
    User.objects.update(is_active=False)


@pytest.mark.asyncio
@pytest.mark.parametrize("loss", [lose_role, lose_login])
async def test_who_loses_the_right_loses_the_socket_at_the_next_message(
    loss: Callable[[Business], None], owner_key: ApiKey
) -> None:
    socket = open_socket(await in_thread(owner))
    await socket.connect(timeout=5)
    await socket.receive_json_from(timeout=5)
    await in_thread(loss, owner_key.business)
    await socket.send_json_to("still there?")
    assert await refusal(socket) == (1008, "You may not use this page.")


@pytest.mark.asyncio
@pytest.mark.parametrize("text", ["{", "NaN", '{"a": 1, "a": 2}', '"\\u0000"', "[" * 5000])
async def test_what_is_no_sound_json_closes_the_socket_with_a_reason(text: str, owner_key: ApiKey) -> None:
    socket = open_socket(await in_thread(owner))
    await socket.connect(timeout=5)
    await socket.receive_json_from(timeout=5)
    await socket.send_to(text_data=text)
    code, reason = await refusal(socket)
    assert code == 1008
    assert reason


@pytest.mark.asyncio
async def test_binary_frames_and_refusals_of_the_consumer_close_the_socket(owner_key: ApiKey) -> None:
    user = await in_thread(owner)
    socket = open_socket(user)
    await socket.connect(timeout=5)
    await socket.receive_json_from(timeout=5)
    await socket.send_to(bytes_data=b"\x00")
    assert await refusal(socket) == (1008, "Send text frames.")
    socket = open_socket(user)
    await socket.connect(timeout=5)
    await socket.receive_json_from(timeout=5)
    await socket.send_json_to("refuse me")
    assert await refusal(socket) == (1008, "As you wish.")
