"""Passwords and tokens of channels: stored under a key that is made of the platform's own, never shown again."""

from __future__ import annotations

import base64
from hashlib import sha256

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings

from chats.channels.base import ChannelError


def seal(secret: str) -> str:
    return _box().encrypt(secret.encode()).decode() if secret else ""


def unseal(sealed: str) -> str:
    """Raises ChannelError where the platform's key was changed without keeping the old one as a fallback."""
    if not sealed:
        return ""
    try:
        return _box().decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise ChannelError("The stored secret cannot be read any more: enter it again.", permanent=True) from error


def _box() -> MultiFernet:
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(_key(key)) for key in keys])


def _key(secret_key: str) -> bytes:
    return base64.urlsafe_b64encode(sha256(f"chats.channels:{secret_key}".encode()).digest())
