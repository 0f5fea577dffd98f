"""Environment variables, read once by `mia.settings`; a wrong value stops the start with its name."""

import os
import re
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

declared: Final[dict[str, str]] = {}
"""Every variable that was asked for, with its default; `.env.example` is compared with it."""

TRUE = frozenset({"1", "true", "yes", "on"})
FALSE = frozenset({"0", "false", "no", "off", ""})


def text(name: str, default: str = "") -> str:
    declared[name] = default
    return os.environ.get(name, default)


def secret(name: str, default: str = "") -> str:
    """The variable itself, or the content of the file that `<NAME>_FILE` names."""
    declared[name] = default
    path = os.environ.get(f"{name}_FILE")
    return Path(path).read_text().strip() if path else os.environ.get(name, default)


def boolean(name: str, *, default: bool) -> bool:
    value = text(name, "1" if default else "0").strip().lower()
    if value in TRUE:
        return True
    if value in FALSE:
        return False
    raise ImproperlyConfigured(f"{name} must be one of 1, 0, true, false, yes, no, on, off.")


def integer(name: str, default: int) -> int:
    value = text(name, str(default)) or str(default)
    try:
        return int(value)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value!r}.") from error


def items(name: str, default: str = "") -> list[str]:
    """A comma-separated list; blanks are dropped."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def address(name: str) -> str:
    """A plain http(s):// address of printable characters, or nothing."""
    value = text(name).strip()
    if value and not re.fullmatch(
        r"https?://[A-Za-z0-9.-]+(:[0-9]{1,5})?/?|https?://\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?/?", value
    ):
        raise ImproperlyConfigured(f"{name} must be an address such as https://mia.example.com.")
    return value


def choice(name: str, options: frozenset[str], default: str) -> str:
    value = text(name, default)
    if value not in options:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(sorted(options))}.")
    return value


def postgres(name: str, default: str) -> dict[str, object]:
    """A `postgresql://user:password@host:port/name?option=value` URL as Django's DATABASES entry.

    `?host=/directory` names a unix socket, as libpq has it.
    """
    parts = urlsplit(secret(name, default))
    if parts.scheme not in {"postgres", "postgresql"}:
        raise ImproperlyConfigured(f"{name} must be a postgresql:// URL.")
    options: dict[str, object] = {key: values[-1] for key, values in parse_qs(parts.query).items()}
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", None) or parts.hostname or "",
        "PORT": options.pop("port", None) or parts.port or "",
        "OPTIONS": options,
    }
