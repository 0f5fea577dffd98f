"""Signs tokens for tests, well and badly, and publishes key sets from a real local server."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa


@cache
def rsa_key(name: str = "issuer", bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key per name for the whole run: making one is slow."""
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(serialization.Encoding.PEM, form).decode()


def private_pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.PrivateFormat.PKCS8
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()).decode()


def jwk(key: rsa.RSAPrivateKey, kid: str | None, **more: object) -> dict[str, object]:
    fields: dict[str, object] = {**jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), **more}
    fields.pop("key_ops", None)
    return fields if kid is None else {**fields, "kid": kid}


def claims_for(issuer: Any, **changes: object) -> dict[str, object]:
    """Sound claims, then the changes; a change to `...` leaves the claim out."""
    now = int(time.time())
    claims: dict[str, object] = {
        "iss": issuer.issuer,
        "aud": issuer.audience,
        "iat": now,
        "exp": now + 300,
        "organization_id": issuer.business_id,
        "sub": "user-1",
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not ...}


def sign(claims: dict[str, object], key: Any = None, alg: str = "RS256", headers: dict[str, Any] | None = None) -> str:
    return jwt.encode(claims, key or rsa_key(), algorithm=alg, headers=headers)


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def raw_token(header: object, payload: object, signature: bytes = b"signature") -> str:
    """A token of any three parts, for what no library would sign."""
    return f"{part(header)}.{part(payload)}.{part(signature)}"


def rsa_signed(header: object, payload: object, key: rsa.RSAPrivateKey | None = None) -> str:
    """A token of any header and payload with a true RS256 signature."""
    message = f"{part(header)}.{part(payload)}"
    algorithm = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256)
    return f"{message}.{part(algorithm.sign(message.encode(), key or rsa_key()))}"


@dataclass
class KeyServer:
    """Publishes a key set; counts who asks, and fails on demand."""

    document: object
    status: int = 200
    asked: list[str] = field(default_factory=list)
    url: str = ""
    port: int = 0


@contextmanager
def serve_keys(document: object) -> Iterator[KeyServer]:
    state = KeyServer(document)

    class Handler(BaseHTTPRequestHandler):
        """Answers every GET with the key set."""

        def do_GET(self) -> None:
            state.asked.append(self.path)
            body = json.dumps(state.document).encode()
            self.send_response(state.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.port = server.server_address[1]
    state.url = f"http://127.0.0.1:{state.port}/keys.json"
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=5)
