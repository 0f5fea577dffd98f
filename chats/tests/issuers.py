"""A business's own dashboard, which signs tokens for its visitors and agents."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from accounts.models import Business, JwtIssuer
from accounts.tests.factories import JwtIssuerFactory


@cache
def private_key() -> RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def public_pem() -> str:
    encoding, shape = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return private_key().public_key().public_bytes(encoding, shape).decode()


@dataclass(frozen=True)
class Dashboard:
    """The issuer of a business, registered by its public key."""

    issuer: JwtIssuer

    def token(self, **claims: object) -> str:
        now = int(time.time())
        standard = {
            "iss": self.issuer.issuer,
            "aud": self.issuer.audience,
            "organization_id": self.issuer.business_id,
            "iat": now,
            "exp": now + 600,
        }
        return jwt.encode({**standard, **claims}, private_key(), algorithm="RS256")

    def agent(self, conversation_id: object, **claims: object) -> str:
        return self.token(type="agent", conversation_id=str(conversation_id), name="Bob", **claims)

    def user(self, conversation_id: object, **claims: object) -> str:
        return self.token(type="user", conversation_id=str(conversation_id), **claims)


def make_dashboard(business: Business) -> Dashboard:
    return Dashboard(JwtIssuerFactory(business=business, public_key_pem=public_pem()))
