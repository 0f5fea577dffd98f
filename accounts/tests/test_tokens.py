"""Dashboard tokens: the good ones, and a corpus of bad ones that must all be refused as one."""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable

import pytest
from django.core.exceptions import ValidationError

from accounts.models import Business, JwtIssuer
from accounts.principals import PrincipalKind
from accounts.tenancy import platform_scope
from accounts.tests.factories import JwtIssuerFactory
from accounts.tests.tokens import (
    claims_for,
    ec_key,
    jwk,
    part,
    private_pem,
    public_pem,
    raw_token,
    rsa_key,
    rsa_signed,
    sign,
)
from accounts.tokens import BadToken, check_public_key, load_public_key, resolve_token

pytestmark = pytest.mark.django_db

RS256 = {"alg": "RS256", "typ": "JWT"}
Forge = Callable[[JwtIssuer], str]


@pytest.fixture
def issuer(business: Business) -> JwtIssuer:
    return JwtIssuerFactory(business=business, public_key_pem=public_pem(rsa_key()))


def altered(**changes: object) -> Forge:
    """Sound claims with changes; a callable is asked when the token is made."""

    def forge(issuer: JwtIssuer) -> str:
        return sign(
            claims_for(issuer, **{name: value() if callable(value) else value for name, value in changes.items()})
        )

    return forge


def with_header(**header: object) -> Forge:
    return lambda issuer: rsa_signed({**RS256, **header}, claims_for(issuer))


def hs256_with_public_key(issuer: JwtIssuer) -> str:
    """The classic confusion: the public key as an HMAC secret."""
    message = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims_for(issuer))}"
    signature = hmac.new(public_pem(rsa_key()).encode(), message.encode(), hashlib.sha256).digest()
    return f"{message}.{part(signature)}"


def unsigned(alg: object) -> Forge:
    return lambda issuer: f"{part({'alg': alg, 'typ': 'JWT'})}.{part(claims_for(issuer))}."


def after(offset_s: float) -> Callable[[], float]:
    return lambda: int(time.time()) + offset_s


BAD_TOKENS: dict[str, Forge] = {
    "empty": lambda issuer: "",
    "one part": lambda issuer: "eyJhbGciOiJSUzI1NiJ9",
    "two parts": lambda issuer: sign(claims_for(issuer)).rsplit(".", 1)[0],
    "four parts": lambda issuer: sign(claims_for(issuer)) + ".extra",
    "not base64": lambda issuer: "a.b.c",
    "not ASCII": lambda issuer: "é.é.é",
    "five parts, encrypted": lambda issuer: "a.b.c.d.e",
    "alg none": unsigned("none"),
    "alg None": unsigned("None"),
    "alg NONE": unsigned("NONE"),
    "alg missing": lambda issuer: f"{part({'typ': 'JWT'})}.{part(claims_for(issuer))}.",
    "alg a number": unsigned(1),
    "alg a list": unsigned(["RS256"]),
    "HS256 with the public key": hs256_with_public_key,
    "PS256": lambda issuer: sign(claims_for(issuer), alg="PS256"),
    "RS512": lambda issuer: sign(claims_for(issuer), alg="RS512"),
    "ES256": lambda issuer: sign(claims_for(issuer), key=ec_key(), alg="ES256"),
    "lower-case alg": with_header(alg="rs256"),
    "signature missing": lambda issuer: sign(claims_for(issuer)).rsplit(".", 1)[0] + ".",
    "signature of another key": lambda issuer: sign(claims_for(issuer), key=rsa_key("stranger")),
    "signature of another payload": lambda issuer: (
        sign(claims_for(issuer, sub="other")).rsplit(".", 1)[0] + "." + sign(claims_for(issuer)).rsplit(".", 1)[1]
    ),
    "jku, x5u and jwk headers with the forger's key": lambda issuer: sign(
        claims_for(issuer),
        key=rsa_key("stranger"),
        headers={
            "jku": "https://evil.example/keys",
            "x5u": "https://evil.example/x",
            "jwk": jwk(rsa_key("stranger"), "x"),
        },
    ),
    "critical extension": with_header(crit=["exp"], exp=1),
    "unencoded payload": with_header(crit=["b64"], b64=False),
    "unknown typ": with_header(typ="visitor+jwt"),
    "typ a number": with_header(typ=1),
    "header a list": lambda issuer: raw_token([], claims_for(issuer)),
    "payload a list": lambda issuer: rsa_signed(RS256, [1, 2]),
    "payload a string": lambda issuer: rsa_signed(RS256, "payload"),
    "payload no JSON": lambda issuer: rsa_signed(RS256, b"{not json"),
    "payload no UTF-8": lambda issuer: rsa_signed(RS256, b'{"iss": "\xff\xfe"}'),
    "payload nested deeply": lambda issuer: rsa_signed(RS256, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "payload a huge number": lambda issuer: rsa_signed(RS256, b'{"exp":' + b"9" * 5000 + b"}"),
    "exp missing": altered(exp=...),
    "exp past": altered(exp=after(-300)),
    "exp just past the leeway": altered(exp=after(-31)),
    "exp text": altered(exp=lambda: str(int(time.time()) + 300)),
    "exp null": altered(exp=None),
    "exp true": altered(exp=True),
    "exp a list": altered(exp=lambda: [int(time.time()) + 300]),
    "exp infinite": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "exp": float("inf")}),
    "exp not a number": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "exp": float("nan")}),
    "iat missing": altered(iat=...),
    "iat in the future": altered(iat=after(300)),
    "iat text": altered(iat="now"),
    "nbf in the future": altered(nbf=after(300)),
    "nbf text": altered(nbf="soon"),
    "aud missing": altered(aud=...),
    "aud of somebody else": altered(aud="other"),
    "aud of others": altered(aud=["other", "another"]),
    "aud empty": altered(aud=[]),
    "aud a number": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "aud": 1}),
    "aud an object": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "aud": {"mia": True}}),
    "aud with a number": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "aud": [issuer.audience, 1]}),
    "iss missing": altered(iss=...),
    "iss of somebody else": altered(iss="https://evil.example/"),
    "iss a number": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "iss": 1}),
    "iss a list": lambda issuer: rsa_signed(RS256, {**claims_for(issuer), "iss": [issuer.issuer]}),
    "iss with NUL": altered(iss="https://id.example/\x00"),
    "iss with half a surrogate pair": altered(iss="https://id.example/\ud800"),
    "iss SQL": altered(iss="' OR 1=1 --"),
    "iss very long": altered(iss="https://" + "a" * 5000),
    "organization missing": altered(organization_id=...),
    "organization null": altered(organization_id=None),
    "organization true": altered(organization_id=True),
    "organization a float": lambda issuer: sign(claims_for(issuer, organization_id=float(issuer.business_id))),
    "organization a list": lambda issuer: sign(claims_for(issuer, organization_id=[issuer.business_id])),
    "organization unknown": altered(organization_id=987_654_321),
    "organization zero": altered(organization_id=0),
    "organization negative": lambda issuer: sign(claims_for(issuer, organization_id=-issuer.business_id)),
    "organization too large": altered(organization_id=2**63),
    "organization far too large": altered(organization_id="9" * 1000),
    "organization SQL": altered(organization_id="1 OR 1=1"),
    "organization in other digits": altered(organization_id="١"),
    "longer than 8 KB": altered(padding="x" * 9000),
}


def test_the_corpus_is_large() -> None:
    assert len(BAD_TOKENS) >= 40


@pytest.mark.parametrize("name", BAD_TOKENS)
def test_a_bad_token_is_refused(name: str, issuer: JwtIssuer) -> None:
    with pytest.raises(BadToken) as refusal:
        resolve_token(BAD_TOKENS[name](issuer))
    assert refusal.value.detail == "The token is not valid."


def test_a_sound_token_speaks_for_its_business(issuer: JwtIssuer) -> None:
    principal = resolve_token(sign(claims_for(issuer, type="agent", conversation_id="c1")))
    assert principal.kind == PrincipalKind.DASHBOARD
    assert principal.business_id == issuer.business_id
    assert principal.claims["type"] == "agent"
    assert principal.label == f"{issuer.issuer} user-1"


@pytest.mark.parametrize(
    "forge",
    [
        altered(aud=["other", "mia"]),
        altered(exp=after(300.5)),
        altered(exp=after(-20)),
        altered(iat=after(20)),
        altered(nbf=after(20)),
        lambda issuer: sign(claims_for(issuer, organization_id=str(issuer.business_id))),
        with_header(typ="at+JWT"),
        with_header(kid="whatever"),
        with_header(kid="../../etc/passwd"),
        with_header(kid="' OR 1=1 --"),
        lambda issuer: rsa_signed({"alg": "RS256"}, claims_for(issuer)),
        lambda issuer: sign(claims_for(issuer), headers={"jku": "https://evil.example/keys"}),
    ],
)
def test_tokens_at_the_edge_are_accepted(forge: Forge, issuer: JwtIssuer) -> None:
    assert resolve_token(forge(issuer)).business_id == issuer.business_id


def test_a_business_cannot_speak_for_another(issuer: JwtIssuer, other_business: Business) -> None:
    token = sign(claims_for(issuer, organization_id=other_business.pk))
    with pytest.raises(BadToken):
        resolve_token(token)


def test_two_businesses_with_one_issuer_need_their_own_keys(issuer: JwtIssuer, other_business: Business) -> None:
    key = rsa_key("stranger")
    theirs = JwtIssuerFactory(business=other_business, issuer=issuer.issuer, public_key_pem=public_pem(key))
    assert resolve_token(sign(claims_for(theirs), key=key)).business_id == other_business.pk
    for token in (sign(claims_for(theirs)), sign(claims_for(issuer), key=key)):
        with pytest.raises(BadToken):
            resolve_token(token)


def test_an_issuer_that_was_switched_off_is_not_believed(issuer: JwtIssuer) -> None:
    token = sign(claims_for(issuer))
    resolve_token(token)
    with platform_scope():
        JwtIssuer.objects.update(active=False)
    with pytest.raises(BadToken):
        resolve_token(token)


def test_a_registered_key_is_an_rsa_public_key_of_2048_bits() -> None:
    assert load_public_key(public_pem(rsa_key())).key_size == 2048
    for text in ("", "nonsense", public_pem(rsa_key("small", 1024)), public_pem(ec_key()), private_pem(rsa_key())):
        with pytest.raises(ValidationError):
            check_public_key(text)


def test_an_issuer_has_a_key_or_an_address(business: Business) -> None:
    for fields in (
        {"public_key_pem": "", "jwks_url": ""},
        {"public_key_pem": public_pem(rsa_key()), "jwks_url": "https://id.example/keys"},
    ):
        with pytest.raises(ValidationError):
            JwtIssuer(business=business, issuer="https://id.example/", audience="mia", **fields).clean()
