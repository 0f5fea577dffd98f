"""Secrets of others that have to be used again, such as passwords and signing keys: stored sealed, never shown.

The box's key is made of SECRET_KEY and a purpose, so that what was sealed for one thing opens nothing else.
SECRET_KEY_FALLBACKS still open what was sealed before SECRET_KEY was changed.
"""

from __future__ import annotations

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class Unreadable(Exception):
    """It was sealed under a key that is no longer known."""


def seal(secret: str, *, purpose: str) -> str:
    return _box(purpose).encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str, *, purpose: str) -> str:
    """'' for ''; raises Unreadable."""
    if not sealed:
        return ""
    try:
        return _box(purpose).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise Unreadable from error


def _box(purpose: str) -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_key(f"{purpose}:{key}")) for key in keys])


def _key(text: str) -> bytes:
    return base64.urlsafe_b64encode(sha256(text.encode()).digest())
