"""Web origins: how one is written down, and which keys a page may use."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import SplitResult, urlsplit

from django.utils import timezone

from accounts.recent import RecentAnswers
from accounts.tenancy import platform_scope

MAX_ORIGIN_CHARS = 255
DEFAULT_PORTS = {"http": 80, "https": 443}
HOST_PATTERN = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?|\[[0-9a-f:.]+\])", re.ASCII)


def normalise_origin(text: str) -> str | None:
    """An origin as browsers send it (lower case, no default port, no path), or None when the text is not one."""
    text = text.strip()
    if not text or len(text) > MAX_ORIGIN_CHARS or not text.isascii():
        return None
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not _is_bare(parts):
        return None
    host = _host(parts)
    if not HOST_PATTERN.fullmatch(host):
        return None
    suffix = "" if port is None or port == DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{host}{suffix}"


def _is_bare(parts: SplitResult) -> bool:
    return "@" not in parts.netloc and parts.path in {"", "/"} and not parts.query and not parts.fragment


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").lower()
    return f"[{host}]" if ":" in host else host


def is_allowed(origin: str | None, allowed_origins: tuple[str, ...]) -> bool:
    """Exact comparison; a request without an Origin header is no browser's and is refused too."""
    return origin is not None and origin in allowed_origins


_served: RecentAnswers[bool] = RecentAnswers(lifetime_s=5.0, max_entries=2_000)


def some_live_key_serves(origin: str) -> bool:
    """Whether any business lets this page use a publishable key: what a preflight, which carries no key, is asked.

    The answer is a few seconds old at most.
    """
    return _served.get(origin, partial(_ask_whether_served, origin))


def forget_served_origins() -> None:
    _served.clear()


def _ask_whether_served(origin: str) -> bool:
    from accounts.models import ApiKey

    with platform_scope():
        return ApiKey.objects.live(timezone.now()).serving_origin(origin).exists()
