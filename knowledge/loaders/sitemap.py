"""Sitemaps: the addresses that a website lists, and the sitemaps that an index of them lists."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from html import unescape
from typing import Final

from knowledge.loaders.base import LoadError

MAX_UNPACKED_BYTES: Final = 50_000_000
MAX_ADDRESSES: Final = 50_000
# One pass over the text: a sitemap is flat, and an XML parser would bring entities and depth with it.
ENTRY: Final = re.compile(
    r"<(?:\w+:)?loc>\s*(?:<!\[CDATA\[)?\s*(\S{1,2000}?)\s*(?:\]\]>)?\s*</(?:\w+:)?loc>", re.IGNORECASE
)
INDEX: Final = re.compile(r"<(?:\w+:)?sitemapindex\b", re.IGNORECASE)


@dataclass(frozen=True)
class Sitemap:
    """The addresses of one sitemap; those of an index are sitemaps themselves."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def load_sitemap(content: bytes) -> Sitemap:
    text = _unpacked(content).decode(errors="replace")
    addresses = list(dict.fromkeys(unescape(found) for found in ENTRY.findall(text)))[:MAX_ADDRESSES]
    if INDEX.search(text[:4096]):
        return Sitemap(sitemaps=addresses)
    return Sitemap(pages=addresses)


def is_packed(content: bytes) -> bool:
    return content.startswith(b"\x1f\x8b")


def _unpacked(content: bytes) -> bytes:
    if not is_packed(content):
        return content
    unpacker = zlib.decompressobj(wbits=31)
    try:
        text = unpacker.decompress(content, MAX_UNPACKED_BYTES)
    except zlib.error as error:
        raise LoadError("The packed sitemap is damaged.") from error
    if unpacker.unconsumed_tail:
        raise LoadError("The packed sitemap unpacks to more than 50 MB.")
    return text
