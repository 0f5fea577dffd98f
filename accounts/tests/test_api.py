"""The base of API views: who gets in, what they see, what is undone."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from accounts.choices import KeyKind
from accounts.keys import new_key
from accounts.models import ApiKey, Business, JwtIssuer, User
from accounts.principals import Principal, PrincipalKind
from accounts.resolution import _lookups, register_lookup
from accounts.tenancy import platform_scope
from accounts.tests.factories import ORIGIN, ApiKeyFactory, JwtIssuerFactory
from accounts.tests.tokens import claims_for, public_pem, rsa_key, sign

pytestmark = [pytest.mark.django_db, pytest.mark.urls("accounts.tests.site_urls")]


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def name_of(business: Business) -> str:
    with platform_scope():
        return Business.objects.get(pk=business.pk).name


def rename(client: Client, key: ApiKey, then: str = "") -> int:
    body = {"then": then}
    return client.post("/api/rename", body, "application/json", headers=bearer(key.plain)).status_code


@pytest.fixture
def issuer(business: Business) -> JwtIssuer:
    return JwtIssuerFactory(business=business, public_key_pem=public_pem(rsa_key()))


@pytest.mark.parametrize("address", ["/api/closed", "/api/plain"])
def test_a_view_that_names_nobody_lets_nobody_in(address: str, client: Client, secret_key: ApiKey) -> None:
    assert client.get(address).status_code == 401
    assert client.get(address, headers=bearer(secret_key.plain)).status_code == 403


def test_no_credential_is_401_and_says_what_is_wanted(client: Client) -> None:
    response = client.get("/api/keys")
    assert response.status_code == 401
    assert response.json()["error_code"] == "NOT_AUTHENTICATED"
    assert set(response.json()) == {"detail", "error_code", "timestamp"}
    assert response["WWW-Authenticate"].startswith("Bearer")


def test_a_key_sees_its_own_business(client: Client, secret_key: ApiKey, other_secret_key: ApiKey) -> None:
    response = client.get("/api/keys", headers=bearer(secret_key.plain))
    assert response.json() == {"keys": [secret_key.pk], "business": secret_key.business_id}


def test_a_key_may_come_in_its_own_header(client: Client, secret_key: ApiKey) -> None:
    assert client.get("/api/keys", headers={"X-Api-Key": secret_key.plain}).status_code == 200


def test_a_dashboard_token_sees_its_own_business(client: Client, issuer: JwtIssuer, other_secret_key: ApiKey) -> None:
    response = client.get("/api/keys", headers=bearer(sign(claims_for(issuer))))
    assert response.json() == {"keys": [], "business": issuer.business_id}


def test_the_wrong_kind_is_403(client: Client, client_key: ApiKey) -> None:
    response = client.get("/api/keys", headers=bearer(client_key.plain))
    assert response.status_code == 403
    assert response.json()["error_code"] == "FORBIDDEN"


@pytest.mark.parametrize("address", ["/api/keys", "/api/public"])
@pytest.mark.parametrize(
    "text", ["mia_sk_short", "nonsense", "eyJ.a.b", "mia_sk_" + "a" * 42, "mia_sk_\u00e9", "x" * 20_000]
)
def test_a_bad_credential_is_401_even_where_none_is_needed(address: str, text: str, client: Client) -> None:
    response = client.get(address, headers=bearer(text))
    assert response.status_code == 401
    assert response.json()["error_code"] == "NOT_AUTHENTICATED"


@pytest.mark.parametrize("ending", [{"revoked": True}, {"expired": True}])
def test_a_key_that_ended_is_401(ending: dict[str, bool], client: Client) -> None:
    key = ApiKeyFactory(**ending)
    assert client.get("/api/keys", headers=bearer(key.plain)).status_code == 401
    assert client.get("/api/public", headers={"X-Api-Key": key.plain}).status_code == 401


def test_the_key_of_another_installation_is_401(client: Client, secret_key: ApiKey) -> None:
    assert client.get("/api/keys", headers=bearer(new_key(KeyKind.SECRET).plain)).status_code == 401


def test_a_publishable_key_needs_one_of_its_origins(client: Client, publishable_key: ApiKey) -> None:
    headers = bearer(publishable_key.plain)
    assert client.get("/api/public", headers={**headers, "Origin": ORIGIN}).json()["kind"] == "publishable"
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "same-origin"}):
        response = client.get("/api/public", headers={**headers, **origin})
        assert response.status_code == 403
        assert response.json()["error_code"] == "ORIGIN_NOT_ALLOWED"


def test_a_page_of_ours_may_use_a_key_that_names_us(client: Client, business: Business) -> None:
    key = ApiKeyFactory(business=business, kind=KeyKind.PUBLISHABLE, allowed_origins=["http://testserver"])
    headers = {**bearer(key.plain), "Sec-Fetch-Site": "same-origin"}
    assert client.get("/api/public", headers=headers).status_code == 200


def test_nobody_sees_no_rows_on_a_public_route(client: Client, business: Business, secret_key: ApiKey) -> None:
    assert client.get("/api/public").json() == {"kind": None, "businesses": 0}
    known = client.get("/api/public", headers=bearer(secret_key.plain))
    assert known.json() == {"kind": "secret", "businesses": 1}


def test_a_change_is_kept(client: Client, secret_key: ApiKey, business: Business, other_business: Business) -> None:
    assert rename(client, secret_key) == 200
    assert name_of(business) == "renamed"
    assert name_of(other_business) != "renamed"


@pytest.mark.parametrize(("then", "status"), [("raise", 409), ("answer", 409), ("break", 500)])
def test_an_error_undoes_the_change(then: str, status: int, secret_key: ApiKey, business: Business) -> None:
    client = Client(raise_request_exception=False)
    assert rename(client, secret_key, then) == status
    assert name_of(business) != "renamed"


def test_another_method_is_405(client: Client, secret_key: ApiKey) -> None:
    response = client.delete("/api/keys", headers=bearer(secret_key.plain))
    assert response.status_code == 405
    assert response.json()["error_code"] == "METHOD_NOT_ALLOWED"


def test_staff_use_their_session_where_it_is_allowed(
    log_in: Callable[[User], Client], alice: User, business: Business, other_business: Business, root: User
) -> None:
    assert log_in(alice).get("/api/staff").json() == {"businesses": [business.pk]}
    assert log_in(root).get("/api/staff").json() == {"businesses": [business.pk, other_business.pk]}


def test_a_session_opens_nothing_that_is_meant_for_keys(log_in: Callable[[User], Client], alice: User) -> None:
    assert log_in(alice).get("/api/keys").status_code == 401


def test_a_session_needs_a_csrf_token_to_change_something(alice: User, business: Business) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(alice)
    response = client.post("/api/staff")
    assert response.status_code == 403
    assert name_of(business) != "by staff"


def test_somebody_without_access_to_the_admin_is_no_staff(log_in: Callable[[User], Client], alice: User) -> None:
    client = log_in(alice)
    User.objects.update(is_staff=False)
    assert client.get("/api/staff").status_code == 401


def test_a_miner_works_for_everybody(client: Client, business: Business, other_business: Business) -> None:
    made, before = new_key(KeyKind.MINER), dict(_lookups)
    register_lookup(KeyKind.MINER, lambda parsed: Principal(kind=PrincipalKind.MINER, key_id=1))
    try:
        assert client.get("/api/miner", headers=bearer(made.plain)).json() == {"businesses": 2}
        assert client.get("/api/keys", headers=bearer(made.plain)).status_code == 403
    finally:
        _lookups.clear()
        _lookups.update(before)


def test_the_schema_names_every_credential(client: Client) -> None:
    schema = client.get("/test-openapi.json").json()
    schemes = schema["components"]["securitySchemes"]
    assert set(schemes) >= {"bearerKey", "headerKey", "dashboardToken", "staffSession"}
    assert schema["paths"]["/api/keys"]["get"]["security"] == [
        {"bearerKey": []}, {"headerKey": []}, {"dashboardToken": []},
    ]  # fmt: skip
    assert {"staffSession": []} in schema["paths"]["/api/staff"]["get"]["security"]
    assert {} in schema["paths"]["/api/public"]["get"]["security"]
