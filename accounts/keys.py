"""The text of API keys: how one is made, read and compared. Miners' keys are made the same way."""

from __future__ import annotations

import re
import secrets
import string
from collections.abc import Iterator
from dataclasses import dataclass, field

from django.conf import settings
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.choices import KeyKind

ALPHABET = string.digits + string.ascii_letters
PREFIX_CHARS = 10
SECRET_CHARS = 32
MAX_KEY_CHARS = 64
TAGS = {KeyKind.PUBLISHABLE: "pk", KeyKind.SECRET: "sk", KeyKind.CLIENT: "ck", KeyKind.MINER: "mk"}
KINDS = {tag: kind for kind, tag in TAGS.items()}
KEY_PATTERN = re.compile(r"mia_(pk|sk|ck|mk)_([0-9A-Za-z]{10})([0-9A-Za-z]{32})", re.ASCII)
DIGEST_SALT = "accounts.keys"


@dataclass(frozen=True)
class NewKey:
    """A key just made; `plain` exists nowhere else and is shown once."""

    plain: str = field(repr=False)
    prefix: str
    digest: str = field(repr=False)


@dataclass(frozen=True)
class ParsedKey:
    """A text that has the shape of a key, which says nothing yet about whether it is one."""

    kind: KeyKind
    prefix: str
    plain: str = field(repr=False)


def random_text(length: int) -> str:
    return "".join(secrets.choice(ALPHABET) for _ in range(length))


def new_key(kind: KeyKind) -> NewKey:
    prefix = random_text(PREFIX_CHARS)
    plain = f"mia_{TAGS[kind]}_{prefix}{random_text(SECRET_CHARS)}"
    return NewKey(plain=plain, prefix=prefix, digest=digest_key(plain))


def parse_key(text: str) -> ParsedKey | None:
    """The parts of a well-formed key, else None; `prefix` is what the database is asked for."""
    if len(text) > MAX_KEY_CHARS:
        return None
    match = KEY_PATTERN.fullmatch(text)
    if match is None:
        return None
    tag, prefix, _secret = match.groups()
    return ParsedKey(kind=KINDS[tag], prefix=prefix, plain=text)


def key_hint(kind: KeyKind, prefix: str) -> str:
    """How a key is shown once its text is gone."""
    return f"mia_{TAGS[kind]}_{prefix}…"


def digest_key(plain: str) -> str:
    """HMAC-SHA256 in hex under a key derived from SECRET_KEY: a leaked database opens nothing by itself."""
    return _digest(plain, settings.SECRET_KEY)


def key_matches(plain: str, digest: str) -> bool:
    """Whether the digest was made from this text, with the current or a retired SECRET_KEY; in constant time each."""
    return any(constant_time_compare(candidate, digest) for candidate in _digests(plain))


def _digests(plain: str) -> Iterator[str]:
    for secret in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        yield _digest(plain, secret)


def _digest(plain: str, secret: str) -> str:
    return salted_hmac(DIGEST_SALT, plain, secret=secret, algorithm="sha256").hexdigest()
