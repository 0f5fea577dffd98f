"""How origins are written down."""

import pytest

from accounts.choices import KeyKind
from accounts.origins import forget_served_origins, is_allowed, normalise_origin, some_live_key_serves
from accounts.tests.factories import ORIGIN, ApiKeyFactory


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://shop.example", "https://shop.example"),
        (" HTTPS://Shop.Example/ ", "https://shop.example"),
        ("https://shop.example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://localhost:8000", "http://localhost:8000"),
        ("https://shop.example:8443/", "https://shop.example:8443"),
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ],
)
def test_an_origin_is_written_as_browsers_send_it(text: str, origin: str) -> None:
    assert normalise_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "null",
        "shop.example",
        "//shop.example",
        "https://",
        "https://*.example",
        "https://shop.example/page",
        "https://shop.example?x=1",
        "https://shop.example#x",
        "https://user@shop.example",
        "https://shop.example:99999",
        "https://shop.example:port",
        "ftp://shop.example",
        "javascript:alert(1)",
        "https://shop example",
        "https://shop.example\x00",
        "https://büecher.example",
        "https://[::1",
        "https://" + "a" * 300 + ".example",
    ],
)
def test_what_is_no_origin_is_refused(text: str) -> None:
    assert normalise_origin(text) is None


@pytest.mark.parametrize(
    "origin",
    [
        None,
        "",
        "null",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://evil-shop.example",
        "https://sub.shop.example",
        "https://SHOP.example",
        "https://shop.example/",
    ],
)
def test_only_the_very_origin_is_allowed(origin: str | None) -> None:
    assert not is_allowed(origin, (ORIGIN,))


def test_the_listed_origin_is_allowed() -> None:
    assert is_allowed(ORIGIN, ("https://other.example", ORIGIN))


@pytest.mark.django_db
def test_an_origin_is_served_while_a_live_publishable_key_names_it() -> None:
    ApiKeyFactory(kind=KeyKind.PUBLISHABLE)
    assert some_live_key_serves(ORIGIN)
    assert not some_live_key_serves("https://other.example")


@pytest.mark.django_db
@pytest.mark.parametrize("ending", [{"revoked": True}, {"expired": True}])
def test_keys_that_ended_serve_no_origin(ending: dict[str, bool]) -> None:
    ApiKeyFactory(kind=KeyKind.PUBLISHABLE, **ending)
    assert not some_live_key_serves(ORIGIN)


@pytest.mark.django_db
def test_the_answer_is_remembered_until_forgotten() -> None:
    assert not some_live_key_serves(ORIGIN)
    ApiKeyFactory(kind=KeyKind.PUBLISHABLE)
    assert not some_live_key_serves(ORIGIN)
    forget_served_origins()
    assert some_live_key_serves(ORIGIN)
