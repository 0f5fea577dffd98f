"""The people of the tests: Alice owns a business, Bob answers its customers, Charlie owns another and sees nothing.

A test package takes part with `from accounts.tests.cast import *` in its conftest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client

from accounts.choices import KeyKind, Role
from accounts.models import ApiKey, Business, User
from accounts.services import forget_keys
from accounts.tests.factories import ApiKeyFactory, BusinessFactory, MembershipFactory, UserFactory

__all__ = [
    "alice",
    "bob",
    "business",
    "charlie",
    "client_key",
    "log_in",
    "no_remembered_keys",
    "other_business",
    "other_secret_key",
    "publishable_key",
    "root",
    "secret_key",
    "victor",
]


@pytest.fixture(autouse=True)
def no_remembered_keys() -> Iterator[None]:
    """What a process remembers of keys must not outlive the test's database."""
    forget_keys()
    yield
    forget_keys()


@pytest.fixture
def business(db: None) -> Business:
    return BusinessFactory(name="Alice's Bicycles", contact_email="hello@bicycles.example")


@pytest.fixture
def other_business(db: None) -> Business:
    return BusinessFactory(name="Charlie's Chocolates", contact_email="hello@chocolates.example")


@pytest.fixture
def alice(business: Business) -> User:
    return MembershipFactory(business=business, user__email="alice@bicycles.example", role=Role.OWNER).user


@pytest.fixture
def bob(business: Business) -> User:
    return MembershipFactory(business=business, user__email="bob@bicycles.example", role=Role.AGENT).user


@pytest.fixture
def victor(business: Business) -> User:
    """A viewer of Alice's business."""
    return MembershipFactory(business=business, user__email="victor@bicycles.example", role=Role.VIEWER).user


@pytest.fixture
def charlie(other_business: Business) -> User:
    return MembershipFactory(business=other_business, user__email="charlie@chocolates.example", role=Role.OWNER).user


@pytest.fixture
def root(db: None) -> User:
    """A superuser: platform staff."""
    return UserFactory(email="root@mia.example", superuser=True)


@pytest.fixture
def secret_key(business: Business) -> ApiKey:
    return ApiKeyFactory(business=business, kind=KeyKind.SECRET)


@pytest.fixture
def other_secret_key(other_business: Business) -> ApiKey:
    return ApiKeyFactory(business=other_business, kind=KeyKind.SECRET)


@pytest.fixture
def client_key(business: Business) -> ApiKey:
    return ApiKeyFactory(business=business, kind=KeyKind.CLIENT)


@pytest.fixture
def publishable_key(business: Business) -> ApiKey:
    return ApiKeyFactory(business=business, kind=KeyKind.PUBLISHABLE)


@pytest.fixture
def log_in() -> Callable[[User], Client]:
    """A browser in which somebody is signed in to the admin."""

    def logged_in(user: User) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return logged_in
