"""The admin's login: five tries for a person, whoever they are from."""

import pytest
from django.test import Client

from accounts.models import User

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "correct horse battery"


@pytest.fixture(autouse=True)
def alice() -> User:
    return User.objects.create_superuser("alice@example.org", PASSWORD)


def try_login(password: str, *, email: str = "alice@example.org", address: str = "192.0.2.1") -> bool:
    reply = Client(REMOTE_ADDR=address).post("/admin/login/", {"username": email, "password": password})
    return reply.status_code == 302


def test_five_wrong_passwords_shut_the_door_even_for_the_right_one() -> None:
    assert not any(try_login("wrong", address=f"192.0.2.{number}") for number in range(5))
    assert not try_login(PASSWORD, address="192.0.2.99")


def test_right_passwords_cost_nothing() -> None:
    assert all(try_login(PASSWORD) for _ in range(8))


def test_one_guesser_does_not_shut_others_out() -> None:
    for _ in range(6):
        try_login("wrong", email="bob@example.org", address="192.0.2.7")
    assert try_login(PASSWORD, address="192.0.2.8")


def test_an_address_that_tries_many_people_is_shut_out() -> None:
    for number in range(20):
        try_login("wrong", email=f"person{number}@example.org", address="192.0.2.9")
    assert not try_login(PASSWORD, address="192.0.2.9")
    assert try_login(PASSWORD, address="192.0.2.10")
