"""Dashboard tokens: RS256 JWTs of the issuers that a business has registered.

Nothing in a token is believed before its signature is checked, but for `iss` and `organization_id`, which only choose
whose key to check it with. Headers that name a key or where to get one (jku, x5u, jwk) are never read.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from django.core.exceptions import ValidationError
from django.utils.translation import gettext as _

from accounts import jwks
from accounts.models import JwtIssuer
from accounts.principals import Principal, PrincipalKind
from accounts.tenancy import platform_scope
from mia.lib.errors import NotAuthenticated

MAX_TOKEN_BYTES = 8 * 1024
MAX_ISSUER_CHARS = 255
MAX_BUSINESS_ID = 2**63 - 1
MIN_KEY_BITS = 2048
LEEWAY_S = 30
ALGORITHM = "RS256"
REQUIRED_CLAIMS = ["exp", "iat", "aud", "iss", "organization_id"]
TIME_CLAIMS = ("exp", "iat", "nbf")
TOKEN_TYPES = frozenset({"jwt", "at+jwt"})

Claims = Mapping[str, object]


class BadToken(NotAuthenticated):
    """The token is malformed, forged, expired or not meant for us; which of these is not told."""

    default_detail = "The token is not valid."


def resolve_token(token: str) -> Principal:
    """The dashboard that a token speaks for. Blocking: it asks the database, and at times the issuer's JWKS address."""
    header, claims = _read_unverified(token)
    issuer = _issuer_of(claims)
    verified = _verify(token, issuer, jwks.text_or_none(header.get("kid")))
    return Principal(
        kind=PrincipalKind.DASHBOARD,
        business_id=issuer.business_id,
        claims=verified,
        label=f"{issuer.issuer} {verified.get('sub', '')}".strip(),
    )


def load_public_key(pem: str) -> RSAPublicKey:
    """The RSA key of a PEM text. Raises ValueError for anything else, private keys included."""
    try:
        key = load_pem_public_key(pem.encode())
    except UnsupportedAlgorithm as error:
        raise ValueError("The key is of an unknown sort.") from error
    if not isinstance(key, RSAPublicKey) or key.key_size < MIN_KEY_BITS:
        raise ValueError(f"The key must be an RSA key of {MIN_KEY_BITS} bits or more.")
    return key


def check_public_key(pem: str) -> None:
    try:
        load_public_key(pem)
    except ValueError as error:
        raise ValidationError(
            {
                "public_key_pem": _(
                    "Paste an RSA public key of 2048 bits or more, from BEGIN PUBLIC KEY to END PUBLIC KEY."
                )
            }
        ) from error


def _read_unverified(token: str) -> tuple[Claims, Claims]:
    if len(token) > MAX_TOKEN_BYTES:
        raise BadToken
    try:
        parts = jwt.decode_complete(token, options={"verify_signature": False})
    except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
        raise BadToken from error
    header, claims = parts["header"], parts["payload"]
    if (
        header.get("alg") != ALGORITHM
        or "crit" in header
        or not _has_known_type(header)
        or not _has_sound_times(claims)
    ):
        raise BadToken
    return header, claims


def _has_known_type(header: Claims) -> bool:
    token_type = header.get("typ", "JWT")
    return isinstance(token_type, str) and token_type.lower() in TOKEN_TYPES


def _has_sound_times(claims: Claims) -> bool:
    """PyJWT takes text for a time and fails on infinity; the standard knows numbers only."""
    return all(_is_time(claims[name]) for name in TIME_CLAIMS if name in claims)


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _issuer_of(claims: Claims) -> JwtIssuer:
    name, business_id = claims.get("iss"), _business_id(claims.get("organization_id"))
    # What is not printable holds NUL or half a surrogate pair, which PostgreSQL takes in no text.
    if not isinstance(name, str) or len(name) > MAX_ISSUER_CHARS or not name.isprintable() or business_id is None:
        raise BadToken
    with platform_scope():
        issuer = JwtIssuer.objects.for_business(business_id).filter(issuer=name, active=True).first()
    if issuer is None:
        raise BadToken
    return issuer


def _business_id(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 20:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MAX_BUSINESS_ID:
        return None
    return value


def _verify(token: str, issuer: JwtIssuer, key_id: str | None) -> Claims:
    try:
        return jwt.decode(
            token,
            _key_of(issuer, key_id),
            algorithms=[ALGORITHM],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY_S,
            options={"require": REQUIRED_CLAIMS},
        )
    except (jwt.InvalidTokenError, OverflowError) as error:
        raise BadToken from error


def _key_of(issuer: JwtIssuer, key_id: str | None) -> RSAPublicKey:
    if not issuer.jwks_url:
        return load_public_key(issuer.public_key_pem)
    key = jwks.key_sets.find(issuer.jwks_url, key_id)
    if key is None:
        raise BadToken
    return key
