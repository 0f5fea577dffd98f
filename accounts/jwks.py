"""The published key sets of token issuers: fetched seldom, and kept when their host is down."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from mia.lib.errors import Unavailable
from mia.lib.http import OutboundError, get_json

logger = logging.getLogger(__name__)

FRESH_S = 600.0
REFETCH_EVERY_S = 60.0
KEPT_S = 24 * 3600.0
WAIT_FOR_OTHER_FETCH_S = 5.0
FETCH_TIMEOUT_S = 3.0
MOST_WAITING = 4
MAX_KEYS = 32
MIN_KEY_BITS = 2048
NEVER = float("-inf")

Keys = Mapping[str | None, RSAPublicKey]
Fetch = Callable[[str], object]
Clock = Callable[[], float]


class JwksUnavailable(Exception):
    """The address gave no key set."""


@dataclass
class KeySet:
    """What one address published last, and when it was asked."""

    keys: Keys = field(default_factory=dict)
    fetched_at: float = NEVER
    asked_at: float = NEVER
    lock: threading.Lock = field(default_factory=threading.Lock)

    def pick(self, key_id: str | None) -> RSAPublicKey | None:
        """The key of this id; a token that names none is served only where there is no choice."""
        if key_id is None and len(self.keys) == 1:
            return next(iter(self.keys.values()))
        return self.keys.get(key_id) if key_id is not None else None


class KeySets:
    """The key sets of this process by address.

    An address is asked again after ten minutes, or for an unknown key id, but never twice within a minute: a flood of
    made-up ids does not reach the issuer. While it is down the last good keys serve for a day. Addresses that hang
    hold at most `most_waiting` threads together, whoever sends tokens of however many issuers.
    """

    def __init__(self, fetch: Fetch, clock: Clock = time.monotonic, *, most_waiting: int = 16) -> None:
        self._fetch = fetch
        self._clock = clock
        self._seats = threading.BoundedSemaphore(most_waiting)
        self._sets: dict[str, KeySet] = {}
        self._lock = threading.Lock()

    def find(self, url: str, key_id: str | None) -> RSAPublicKey | None:
        """Blocking, for as long as a fetch takes. Raises Unavailable when too many wait for addresses already."""
        with self._lock:
            key_set = self._sets.setdefault(url, KeySet())
        if self._is_stale(key_set) or key_set.pick(key_id) is None:
            self._refresh(url, key_set)
        if self._clock() - key_set.fetched_at > KEPT_S:
            return None
        return key_set.pick(key_id)

    def clear(self) -> None:
        with self._lock:
            self._sets.clear()

    def _is_stale(self, key_set: KeySet) -> bool:
        return self._clock() - key_set.fetched_at >= FRESH_S

    def _may_ask(self, key_set: KeySet) -> bool:
        return self._clock() - key_set.asked_at >= REFETCH_EVERY_S

    def _refresh(self, url: str, key_set: KeySet) -> None:
        if not self._may_ask(key_set) and not key_set.lock.locked():
            return
        if not self._seats.acquire(blocking=False):
            if key_set.keys:
                return
            raise Unavailable
        try:
            self._refresh_seated(url, key_set)
        finally:
            self._seats.release()

    def _refresh_seated(self, url: str, key_set: KeySet) -> None:
        # One thread asks; others go on with the keys there are, and wait only where there are none.
        wait_s = 0.0 if key_set.keys else WAIT_FOR_OTHER_FETCH_S
        if not key_set.lock.acquire(blocking=wait_s > 0, timeout=wait_s if wait_s > 0 else -1):
            return
        try:
            if self._may_ask(key_set):
                self._ask(url, key_set)
        finally:
            key_set.lock.release()

    def _ask(self, url: str, key_set: KeySet) -> None:
        key_set.asked_at = self._clock()
        try:
            key_set.keys = read_keys(self._fetch(url))
        except JwksUnavailable as error:
            logger.warning("The key set at %s cannot be used: %s", url, error)
        else:
            key_set.fetched_at = self._clock()


def read_keys(document: object) -> Keys:
    """The RSA signing keys of a JWKS by key id; others are passed over. Raises JwksUnavailable when none is left."""
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise JwksUnavailable("it is not a JWKS")
    keys: dict[str | None, RSAPublicKey] = {}
    for entry in entries[:MAX_KEYS]:
        key = read_key(entry)
        if key is not None:
            keys[text_or_none(entry.get("kid"))] = key
    if not keys:
        raise JwksUnavailable("it holds no RSA signing key")
    return keys


def read_key(entry: object) -> RSAPublicKey | None:
    if not isinstance(entry, dict) or entry.get("kty") != "RSA":
        return None
    if entry.get("use", "sig") != "sig" or entry.get("alg", "RS256") != "RS256":
        return None
    try:
        key = jwt.PyJWK(entry, algorithm="RS256").key
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return key if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS else None


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def fetch_key_set(url: str) -> object:
    """The JSON at an address that a business chose: public hosts only, 3 s, 256 KB. Raises JwksUnavailable."""
    try:
        return get_json(url, timeout_s=FETCH_TIMEOUT_S)
    except OutboundError as error:
        raise JwksUnavailable(error.reason) from error


key_sets = KeySets(fetch_key_set, most_waiting=MOST_WAITING)
