"""Which addresses belong to a website, and one spelling for each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final
from urllib.parse import quote, urlsplit, urlunsplit

from knowledge.fetching import FetchError, Visits
from knowledge.limits import MAX_SITEMAP_BYTES, MAX_SITEMAPS, MAX_URL_CHARS
from knowledge.loaders.base import LoadError
from knowledge.loaders.detection import Kind, kind_of
from knowledge.loaders.sitemap import Sitemap, is_packed, load_sitemap

NOT_PAGES: Final = re.compile(
    r"\.(?:png|jpe?g|gif|webp|avif|svg|ico|bmp|css|js|mjs|map|woff2?|ttf|eot|otf|mp[34]|m4[av]|avi|mov|webm|ogg|wav"
    r"|zip|gz|tgz|bz2|xz|7z|rar|tar|exe|dmg|pkg|deb|rpm|msi|apk|iso|bin|xlsx?|pptx?|epub|json|xml|rss|atom|ics)$",
    re.IGNORECASE,
)
DEFAULT_PORTS: Final = {"http": 80, "https": 443}
SAFE: Final = "/%:=&?~#+!$,;'@()*[]"
MAX_PATH_PARTS: Final = 30
MAX_QUERY_CHARS: Final = 500


def normalized(url: str) -> str | None:
    """The address without a fragment, spelled one way; None for what is no address of a page."""
    try:
        parts = urlsplit(url.strip())
        port = parts.port
        host = (parts.hostname or "").encode("idna").decode().lower()
    except (ValueError, UnicodeError):
        return None
    if parts.scheme.lower() not in DEFAULT_PORTS or not host or parts.username is not None or "\\" in url:
        return None
    scheme = parts.scheme.lower()
    if ":" in host:
        host = f"[{host}]"
    place = host if port in {None, DEFAULT_PORTS[scheme]} else f"{host}:{port}"
    address = urlunsplit((scheme, place, quote(parts.path or "/", safe=SAFE), quote(parts.query, safe=SAFE), ""))
    return address if len(address) <= MAX_URL_CHARS else None


def site_of(url: str) -> str:
    """What the addresses of one website have in common: the host, with or without www."""
    return urlsplit(url).netloc.lower().removeprefix("www.")


def pages_among(links: Iterable[str], *, site: str) -> Iterator[str]:
    """The links that lead to pages of this website; endless calendars and filters are cut off by their length."""
    for link in links:
        url = normalized(link)
        if url is None or site_of(url) != site:
            continue
        parts = urlsplit(url)
        if NOT_PAGES.search(parts.path) or parts.path.count("/") > MAX_PATH_PARTS or len(parts.query) > MAX_QUERY_CHARS:
            continue
        yield url


def listed_pages(url: str, *, visits: Visits, limit: int) -> list[str] | None:
    """The pages that the sitemap at this address lists, or None when there is a page there and no sitemap.

    Raises FetchError.
    """
    first = _sitemap_at(url, visits)
    if first is None:
        return None
    site = site_of(url)
    found = dict.fromkeys(pages_among(first.pages, site=site))
    for address in first.sitemaps[:MAX_SITEMAPS]:
        if len(found) >= limit:
            break
        child = normalized(address)
        if child is not None and site_of(child) == site:
            sitemap = _sitemap_at(child, visits)
            found |= dict.fromkeys(pages_among(sitemap.pages if sitemap else (), site=site))
    return list(found)[:limit]


def _sitemap_at(url: str, visits: Visits) -> Sitemap | None:
    page = visits.get(url, max_bytes=MAX_SITEMAP_BYTES)
    content = page.content or b""
    try:
        if is_packed(content) or kind_of(content, name=url) is Kind.SITEMAP:
            return load_sitemap(content)
    except LoadError as error:
        raise FetchError(str(error), permanent=True) from error
    return None
