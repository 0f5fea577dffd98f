"""Whom a request comes from when proxies of ours stand in front."""

from collections.abc import MutableMapping
from typing import Any


def believe_proxies(scope: MutableMapping[str, Any], count: int) -> None:
    """Take the client's address and scheme from what the outermost of `count` proxies of ours wrote."""
    headers = dict(scope["headers"])
    addresses = [address.strip() for address in headers.get(b"x-forwarded-for", b"").decode("latin-1").split(",")]
    if addresses[-1]:
        scope["client"] = [addresses[-count:][0], 0]
    if headers.get(b"x-forwarded-proto", b"").lower() == b"https":
        scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
