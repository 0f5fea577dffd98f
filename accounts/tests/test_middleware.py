"""What every request passes: the staff's scope, and CORS."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.http import StreamingHttpResponse
from django.test import Client

from accounts.choices import KeyKind
from accounts.models import ApiKey, Business, User
from accounts.tenancy import platform_scope
from accounts.tests.factories import ORIGIN, ApiKeyFactory, UserFactory
from accounts.tests.scopes import scope_in_force

pytestmark = [pytest.mark.django_db, pytest.mark.urls("accounts.tests.site_urls")]
LogIn = Callable[[User], Client]


def exported(client: Client) -> set[str]:
    response = client.get("/admin/export/")
    assert isinstance(response, StreamingHttpResponse)
    return set(response.getvalue().decode().splitlines())


@pytest.fixture(autouse=True)
def both(business: Business, other_business: Business) -> None:
    """Two businesses exist in each test."""


def test_staff_see_their_business_in_a_stream_too(log_in: LogIn, alice: User, business: Business) -> None:
    assert exported(log_in(alice)) == {business.name}


def test_a_superuser_sees_everything(log_in: LogIn, root: User, business: Business, other_business: Business) -> None:
    assert exported(log_in(root)) == {business.name, other_business.name}


def test_nobody_and_people_without_access_see_nothing(client: Client, log_in: LogIn, alice: User) -> None:
    assert exported(client) == set()
    assert exported(log_in(UserFactory())) == set()
    signed_in = log_in(alice)
    User.objects.filter(pk=alice.pk).update(is_staff=False)
    assert exported(signed_in) == set()


def test_no_scope_is_left_behind(log_in: LogIn, root: User) -> None:
    exported(log_in(root))
    assert scope_in_force() == ("", "")


@pytest.mark.parametrize("how", ["error", "permission"])
def test_an_error_undoes_what_an_admin_page_did(how: str, root: User) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(root)
    assert client.get(f"/admin/fail/{how}/").status_code == 500
    with platform_scope():
        assert not Business.objects.filter(name="renamed").exists()


def preflight(client: Client, origin: str, path: str = "/api/public") -> dict[str, str]:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    response = client.options(path, headers=headers)
    assert response.status_code == 204
    assert response.content == b""
    return {name.lower(): value for name, value in response.headers.items()}


def test_a_preflight_of_a_listed_page_is_answered(client: Client, publishable_key: ApiKey) -> None:
    headers = preflight(client, ORIGIN)
    assert headers["access-control-allow-origin"] == ORIGIN
    assert "POST" in headers["access-control-allow-methods"]
    for name in ("authorization", "x-api-key", "x-session-token", "content-type", "idempotency-key", "last-event-id"):
        assert name in headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in headers
    assert "Origin" in headers["vary"]


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "https://shop.example.evil.example", "*"])
def test_a_preflight_of_another_page_is_not(origin: str, client: Client, publishable_key: ApiKey) -> None:
    assert not any(name.startswith("access-control") for name in preflight(client, origin))


def test_the_answer_is_shown_to_the_pages_of_the_key_that_was_used(client: Client, publishable_key: ApiKey) -> None:
    ApiKeyFactory(kind=KeyKind.PUBLISHABLE, allowed_origins=["https://other.example"])
    shown = client.get("/api/public", headers={"X-Api-Key": publishable_key.plain, "Origin": ORIGIN})
    assert shown["Access-Control-Allow-Origin"] == ORIGIN
    assert "Retry-After" in shown["Access-Control-Expose-Headers"]
    assert "Origin" in shown["Vary"]
    hidden = client.get("/api/public", headers={"X-Api-Key": publishable_key.plain, "Origin": "https://evil.example"})
    assert hidden.status_code == 403
    assert "Access-Control-Allow-Origin" not in hidden


def test_a_secret_key_in_a_page_gets_an_answer_that_the_page_cannot_read(
    client: Client, secret_key: ApiKey, publishable_key: ApiKey
) -> None:
    response = client.get("/api/public", headers={"X-Api-Key": secret_key.plain, "Origin": ORIGIN})
    assert response.status_code == 200
    assert "Access-Control-Allow-Origin" not in response


def test_a_listed_page_may_read_why_its_key_was_refused(client: Client, publishable_key: ApiKey) -> None:
    response = client.get("/api/public", headers={"X-Api-Key": "mia_pk_wrong", "Origin": ORIGIN})
    assert response.status_code == 401
    assert response["Access-Control-Allow-Origin"] == ORIGIN


def test_requests_without_an_origin_are_left_alone(client: Client, secret_key: ApiKey) -> None:
    response = client.get("/api/public", headers={"X-Api-Key": secret_key.plain})
    assert not any(name.lower().startswith("access-control") for name in response.headers)
