"""Which credential the headers of a request carry."""

import pytest
from channels.db import database_sync_to_async

from accounts.headers import (
    Credentials,
    check_origin,
    key_of,
    principal_from_headers,
    principal_from_headers_async,
    token_of,
)
from accounts.models import ApiKey
from accounts.principals import Principal, PrincipalKind
from accounts.tests.factories import ORIGIN, ApiKeyFactory
from mia.lib.errors import NotAuthenticated, OriginNotAllowed

WIDGET = Principal(kind=PrincipalKind.PUBLISHABLE, business_id=1, allowed_origins=(ORIGIN,))


@pytest.mark.parametrize(
    ("authorization", "api_key", "key", "token"),
    [
        ("", "", None, None),
        ("   ", "", None, None),
        ("Bearer mia_sk_x", "", "mia_sk_x", None),
        ("bearer  mia_sk_x ", "", "mia_sk_x", None),
        ("", "mia_sk_x", "mia_sk_x", None),
        ("Bearer mia_sk_x", "mia_sk_x", "mia_sk_x", None),
        ("Bearer eyJ.a.b", "", None, "eyJ.a.b"),
    ],
)
def test_keys_and_tokens_are_told_apart(authorization: str, api_key: str, key: str | None, token: str | None) -> None:
    credentials = Credentials(authorization=authorization, api_key=api_key)
    assert key_of(credentials) == key
    assert token_of(credentials) == token


@pytest.mark.parametrize(
    "authorization",
    ["Bearer", "Bearer ", "Basic dXNlcjpwYXNz", "mia_sk_x", "Token mia_sk_x", "Bearer a b", "Bearer " + "x" * 20_000],
)
def test_a_malformed_header_is_a_bad_credential_and_not_none(authorization: str) -> None:
    with pytest.raises(NotAuthenticated):
        key_of(Credentials(authorization=authorization))


def test_two_different_credentials_are_refused() -> None:
    with pytest.raises(NotAuthenticated):
        key_of(Credentials(authorization="Bearer mia_sk_x", api_key="mia_sk_y"))
    with pytest.raises(NotAuthenticated):
        key_of(Credentials(authorization="Bearer eyJ.a.b", api_key="mia_sk_y"))


def test_no_credential_is_nobody() -> None:
    assert principal_from_headers(Credentials()) is None


def test_a_publishable_key_works_from_its_pages_only() -> None:
    check_origin(WIDGET, Credentials(origin=ORIGIN))
    for origin in (None, "null", "https://evil.example"):
        with pytest.raises(OriginNotAllowed):
            check_origin(WIDGET, Credentials(origin=origin))


def test_a_same_origin_get_which_has_no_origin_header_counts_as_its_own_page() -> None:
    check_origin(WIDGET, Credentials(own_origin=ORIGIN))
    with pytest.raises(OriginNotAllowed):
        check_origin(WIDGET, Credentials(origin="https://evil.example", own_origin=ORIGIN))
    with pytest.raises(OriginNotAllowed):
        check_origin(WIDGET, Credentials(own_origin="https://api.example"))


def test_other_keys_are_not_tied_to_pages() -> None:
    check_origin(Principal(kind=PrincipalKind.SECRET, business_id=1), Credentials(origin="https://anywhere.example"))


@pytest.mark.django_db
def test_the_headers_name_their_holder(secret_key: ApiKey, publishable_key: ApiKey) -> None:
    by_bearer = principal_from_headers(Credentials(authorization=f"Bearer {secret_key.plain}"))
    by_header = principal_from_headers(Credentials(api_key=secret_key.plain))
    widget = principal_from_headers(Credentials(api_key=publishable_key.plain, origin=ORIGIN))
    assert by_bearer == by_header
    assert by_bearer is not None
    assert by_bearer.business_id == secret_key.business_id
    assert widget is not None
    assert widget.kind == PrincipalKind.PUBLISHABLE


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_coroutines_read_headers_too() -> None:
    key = await database_sync_to_async(ApiKeyFactory)(kind="publishable")
    good = Credentials(api_key=key.plain, origin=ORIGIN)
    found = await principal_from_headers_async(good)
    assert found is not None
    assert found.key_id == key.pk
    assert await principal_from_headers_async(Credentials()) is None
    with pytest.raises(OriginNotAllowed):
        await principal_from_headers_async(Credentials(api_key=key.plain))
    with pytest.raises(NotAuthenticated):
        await principal_from_headers_async(Credentials(authorization="Bearer eyJ.a.b"))
