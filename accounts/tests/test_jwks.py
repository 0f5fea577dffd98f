"""Published key sets: asked seldom, kept when their host is down."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts import jwks
from accounts.jwks import JwksUnavailable, KeySets, fetch_key_set, read_keys
from accounts.models import Business, JwtIssuer
from accounts.tests.factories import JwtIssuerFactory
from accounts.tests.tokens import KeyServer, claims_for, jwk, rsa_key, serve_keys, sign
from accounts.tokens import BadToken, resolve_token
from mia.lib.errors import Unavailable

OLD, NEW = "old", "new"


class Issuer:
    """An issuer's address and its clock, both under the test's control."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.asked = 0
        self.down = False
        self.keys = [jwk(rsa_key(OLD), OLD)]
        self.sets = KeySets(self.fetch, lambda: self.now)

    def fetch(self, url: str) -> object:
        self.asked += 1
        if self.down:
            raise JwksUnavailable("down")
        return {"keys": self.keys}

    def knows(self, kid: str | None) -> bool:
        return self.sets.find("https://id.example/keys", kid) is not None


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def test_a_key_set_is_fetched_once_in_ten_minutes(issuer: Issuer) -> None:
    assert all(issuer.knows(OLD) for _ in range(100))
    assert issuer.asked == 1
    issuer.now += 599
    assert issuer.knows(OLD)
    assert issuer.asked == 1
    issuer.now += 2
    assert issuer.knows(OLD)
    assert issuer.asked == 2


def test_an_unknown_key_id_makes_one_fetch_a_minute_at_most(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.now += 61
    assert not any(issuer.knows(f"made up {number}") for number in range(1000))
    assert issuer.asked == 2


def test_a_new_key_is_found_within_a_minute(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.keys.append(jwk(rsa_key(NEW), NEW))
    assert not issuer.knows(NEW)
    issuer.now += 60
    assert issuer.knows(NEW)
    assert issuer.knows(OLD)


def test_a_retired_key_is_forgotten_with_the_next_fetch(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.keys = [jwk(rsa_key(NEW), NEW)]
    assert issuer.knows(OLD)
    issuer.now += 601
    assert not issuer.knows(OLD)


def test_the_last_good_keys_serve_while_the_issuer_is_down(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.down = True
    for _ in range(10):
        issuer.now += 3600
        assert issuer.knows(OLD)
    assert issuer.asked == 11


def test_the_last_good_keys_serve_for_a_day_and_no_longer(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.down = True
    issuer.now += 24 * 3600 + 1
    assert not issuer.knows(OLD)


def test_an_issuer_that_never_answered_is_asked_once_a_minute(issuer: Issuer) -> None:
    issuer.down = True
    assert not any(issuer.knows(OLD) for _ in range(50))
    assert issuer.asked == 1
    issuer.down = False
    issuer.now += 60
    assert issuer.knows(OLD)


def test_rubbish_does_not_replace_good_keys(issuer: Issuer) -> None:
    issuer.knows(OLD)
    issuer.keys = [{"kty": "oct", "k": "c2VjcmV0"}]
    issuer.now += 601
    assert issuer.knows(OLD)


def test_a_token_without_a_key_id_is_served_where_there_is_one_key(issuer: Issuer) -> None:
    assert issuer.knows(None)
    issuer.keys.append(jwk(rsa_key(NEW), NEW))
    issuer.now += 601
    assert not issuer.knows(None)


def test_threads_share_one_fetch(issuer: Issuer) -> None:
    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(issuer.knows(OLD))) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=10)
    assert found == [True] * 12
    assert issuer.asked == 1


def test_addresses_that_hang_hold_few_threads() -> None:
    hung, asked = threading.Event(), threading.Semaphore(0)

    def fetch(url: str) -> object:
        asked.release()
        hung.wait(10)
        return {"keys": [jwk(rsa_key(OLD), OLD)]}

    sets = KeySets(fetch, most_waiting=2)
    threads = [threading.Thread(target=sets.find, args=[f"https://{number}.example", OLD]) for number in range(2)]
    for thread in threads:
        thread.start()
        assert asked.acquire(timeout=5)
    with pytest.raises(Unavailable):
        sets.find("https://third.example", OLD)
    hung.set()
    for thread in threads:
        thread.join(timeout=10)
    assert sets.find("https://third.example", OLD) is not None


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        "keys",
        {},
        {"keys": None},
        {"keys": {}},
        {"keys": []},
        {"keys": [1, None, "x", {}]},
        {"keys": [{"kty": "RSA"}]},
    ],
)
def test_what_is_no_key_set_is_unavailable(document: object) -> None:
    with pytest.raises(JwksUnavailable):
        read_keys(document)


def test_only_rsa_signing_keys_of_2048_bits_are_taken() -> None:
    good = jwk(rsa_key(), "good", use="sig", alg="RS256")
    bad = [
        jwk(rsa_key(), "encrypts", use="enc"),
        jwk(rsa_key(), "other algorithm", alg="RS512"),
        jwk(rsa_key("small", 1024), "small"),
        {"kty": "EC", "kid": "curve", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "RSA", "kid": "broken", "n": "!!", "e": "AQAB"},
        {"kty": "RSA", "kid": "numbers", "n": 5, "e": 3},
    ]
    assert set(read_keys({"keys": [*bad, good]})) == {"good"}


@pytest.fixture
def key_server(settings: Settings) -> Iterator[KeyServer]:
    with serve_keys({"keys": [jwk(rsa_key(), "one")]}) as server:
        settings.OUTBOUND_ALLOW_PRIVATE = True
        settings.OUTBOUND_ALLOWED_PORTS = [server.port]
        jwks.key_sets.clear()
        yield server
        jwks.key_sets.clear()


@pytest.fixture
def published(business: Business, key_server: KeyServer) -> JwtIssuer:
    return JwtIssuerFactory(business=business, jwks_url=key_server.url)


@pytest.mark.django_db
def test_a_token_is_checked_with_a_published_key(published: JwtIssuer, key_server: KeyServer) -> None:
    for _ in range(3):
        principal = resolve_token(sign(claims_for(published), headers={"kid": "one"}))
        assert principal.business_id == published.business_id
    assert len(key_server.asked) == 1


@pytest.mark.django_db
@pytest.mark.parametrize("kid", ["two", "../one", "' OR 1=1 --", ""])
def test_a_flood_of_unknown_key_ids_does_not_reach_the_issuer(
    kid: str, published: JwtIssuer, key_server: KeyServer
) -> None:
    for number in range(20):
        with pytest.raises(BadToken):
            resolve_token(sign(claims_for(published), headers={"kid": f"{kid}{number}"}))
    assert len(key_server.asked) == 1


@pytest.mark.django_db
def test_a_forged_token_with_a_published_key_id_is_refused(published: JwtIssuer) -> None:
    with pytest.raises(BadToken):
        resolve_token(sign(claims_for(published), key=rsa_key("stranger"), headers={"kid": "one"}))


@pytest.mark.django_db
def test_a_token_cannot_name_its_own_key_set(published: JwtIssuer, key_server: KeyServer) -> None:
    with serve_keys({"keys": [jwk(rsa_key("stranger"), "one")]}) as evil:
        headers = {"kid": "one", "jku": evil.url, "x5u": evil.url, "jwk": jwk(rsa_key("stranger"), "one")}
        with pytest.raises(BadToken):
            resolve_token(sign(claims_for(published), key=rsa_key("stranger"), headers=headers))
        assert evil.asked == []


@pytest.mark.django_db
def test_an_issuer_that_is_down_is_an_invalid_token_and_no_failure(published: JwtIssuer, key_server: KeyServer) -> None:
    key_server.status = 500
    with pytest.raises(BadToken):
        resolve_token(sign(claims_for(published), headers={"kid": "one"}))


def test_a_private_address_is_never_asked() -> None:
    with serve_keys({"keys": []}) as server, pytest.raises(JwksUnavailable):
        fetch_key_set(server.url)
    assert server.asked == []
