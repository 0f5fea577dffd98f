"""Pages of other people's sites: asked for politely, once if they have not changed, never where robots.txt says no.

FetchError: `permanent` says that asking again will not help, `is_gone` that there is no such page any more
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings
from protego import Protego

from knowledge.limits import FETCH_TIMEOUT_S, MAX_CRAWL_DELAY_S, MAX_PAGE_BYTES, MAX_ROBOTS_BYTES
from mia.lib.http import Fetched, OutboundError, fetch

PAGE_TYPES: Final = frozenset(
    {
        "text/html",
        "application/xhtml+xml",
        "text/plain",
        "text/markdown",
        "text/csv",
        "application/pdf",
        "application/xml",
        "text/xml",
        "application/gzip",
        "application/x-gzip",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    }
)
ACCEPT: Final = "text/html,application/xhtml+xml,application/pdf;q=0.9,text/*;q=0.8,application/xml;q=0.8,*/*;q=0.1"
GONE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
MAX_TAG_CHARS: Final = 255
MAX_DATE_CHARS: Final = 64


class FetchError(Exception):
    """A page could not be had; the message is for the person who wants it."""

    def __init__(self, reason: str, *, permanent: bool, is_gone: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent
        self.is_gone = is_gone


@dataclass(frozen=True)
class Page:
    """What an address answered; without content where it has not changed since the tag or date that was sent along."""

    url: str
    content: bytes | None
    media_type: str = ""
    etag: str = ""
    last_modified: str = ""


class Visits:
    """One training's visits to other people's sites: their robots.txt is read once, and the pace they ask for kept.

    Safe for threads.
    """

    def __init__(self) -> None:
        self._rules: dict[str, Protego] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._lock = threading.Lock()
        self._next_at: dict[str, float] = {}

    def get(self, url: str, *, etag: str = "", last_modified: str = "", max_bytes: int = MAX_PAGE_BYTES) -> Page:
        """Raises FetchError."""
        if not self.may_visit(url):
            raise FetchError("The site's robots.txt does not allow it.", permanent=True)
        self._wait_for_turn(url)
        conditions = {"If-None-Match": etag, "If-Modified-Since": last_modified}
        headers = {"Accept": ACCEPT, **{name: value for name, value in conditions.items() if value}}
        try:
            reply = fetch(
                url,
                max_bytes=max_bytes,
                timeout_s=FETCH_TIMEOUT_S,
                content_types=PAGE_TYPES,
                headers=headers,
                may_follow=self.may_visit,
            )
        except OutboundError as error:
            if error.http_status == HTTPStatus.NOT_MODIFIED:
                return Page(url, None, etag=etag, last_modified=last_modified)
            raise _told(error) from error
        return _page(reply)

    def may_visit(self, url: str) -> bool:
        """Raises FetchError where the site's robots.txt cannot be read for the moment."""
        return bool(self._rules_for(url).can_fetch(url, product()))

    def sitemaps(self, url: str) -> list[str]:
        return list(self._rules_for(url).sitemaps)[:10]

    def _rules_for(self, url: str) -> Protego:
        origin = origin_of(url)
        with self._lock:
            lock = self._locks.setdefault(origin, threading.Lock())
        with lock:
            if origin not in self._rules:
                self._rules[origin] = _fetch_rules(origin)
            return self._rules[origin]

    def _wait_for_turn(self, url: str) -> None:
        """Keeps to the site's Crawl-delay, up to what we are ready to wait."""
        origin = origin_of(url)
        rules = self._rules.get(origin)
        delay = min(float(rules.crawl_delay(product()) or 0), MAX_CRAWL_DELAY_S) if rules is not None else 0.0
        if not delay:
            return
        with self._lock:
            at = max(self._next_at.get(origin, 0.0), time.monotonic())
            self._next_at[origin] = at + delay
        time.sleep(max(0.0, at - time.monotonic()))


def product() -> str:
    """Our name in robots.txt: what we call ourselves, without version and comment."""
    return str(settings.OUTBOUND_USER_AGENT).split("/")[0].strip()


def origin_of(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _fetch_rules(origin: str) -> Protego:
    """Without a robots.txt everything is allowed; while the server fails, nothing is (RFC 9309)."""
    try:
        reply = fetch(f"{origin}/robots.txt", max_bytes=MAX_ROBOTS_BYTES, timeout_s=FETCH_TIMEOUT_S / 2)
    except OutboundError as error:
        if error.http_status is not None and error.permanent:
            return Protego.parse("")
        if error.permanent:
            raise _told(error) from error
        raise FetchError(f"The site's robots.txt cannot be read: {error.reason}.", permanent=False) from error
    return Protego.parse(reply.text)


def _page(reply: Fetched) -> Page:
    return Page(
        url=reply.url,
        content=reply.body,
        media_type=reply.media_type,
        etag=reply.headers.get("etag", "")[:MAX_TAG_CHARS],
        last_modified=reply.headers.get("last-modified", "")[:MAX_DATE_CHARS],
    )


def _told(error: OutboundError) -> FetchError:
    is_gone = error.http_status in GONE
    return FetchError(f"{error.reason[:1].upper()}{error.reason[1:]}.", permanent=error.permanent, is_gone=is_gone)
