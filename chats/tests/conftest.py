"""The fixtures of the chats tests: the people of accounts, a bot of each business, and callers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accounts.models import ApiKey, Business
from accounts.tests.cast import *  # noqa: F403
from chats.access import forget_bots
from chats.guardrails.answers import forget_guards
from chats.models import Bot
from chats.policies import forget_policies
from chats.tests.callers import Caller
from chats.tests.factories import BotFactory
from knowledge import snapshot


@pytest.fixture(autouse=True)
def no_remembered_bots() -> Iterator[None]:
    """What a process remembers of bots must not outlive the test's database."""
    forget_bots()
    forget_policies()
    forget_guards()
    snapshot.forget_all()
    yield
    forget_bots()
    forget_policies()
    forget_guards()
    snapshot.forget_all()


@pytest.fixture
def bot(business: Business) -> Bot:
    return BotFactory(business=business, name="Dora", is_default=True)


@pytest.fixture
def other_bot(other_business: Business) -> Bot:
    return BotFactory(business=other_business, name="Otto", is_default=True)


@pytest.fixture
def server(bot: Bot, secret_key: ApiKey) -> Caller:
    """Alice's own server."""
    return Caller(secret_key.plain)


@pytest.fixture
def stranger(other_bot: Bot, other_secret_key: ApiKey) -> Caller:
    """The server of another business."""
    return Caller(other_secret_key.plain)


@pytest.fixture
def visitor(bot: Bot, publishable_key: ApiKey) -> Caller:
    """A visitor of Alice's shop, in a browser."""
    return Caller(publishable_key.plain, origin="https://shop.example")


@pytest.fixture
def second_visitor(bot: Bot, publishable_key: ApiKey) -> Caller:
    return Caller(publishable_key.plain, origin="https://shop.example")
