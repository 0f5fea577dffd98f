"""From the text of a key to its holder: the one path that every request, hot or not, takes.

A verdict is remembered in the process for CACHE_S seconds, good and bad alike, under the digest of the text; so a
revoked key works for at most that long, and a flood of one wrong key costs one query. Other apps add their own
kinds of key, such as miners', with `register_lookup`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

from channels.db import database_sync_to_async
from django.utils import timezone

from accounts.choices import KeyKind
from accounts.keys import ParsedKey, digest_key, key_matches, parse_key
from accounts.models import ApiKey
from accounts.principals import Principal, PrincipalKind
from accounts.recent import RecentAnswers
from accounts.tenancy import platform_scope
from mia.lib.errors import NotAuthenticated

CACHE_S = 5.0
CACHE_ENTRIES = 10_000
USE_IS_NOTED_EVERY = timedelta(minutes=1)

Lookup = Callable[[ParsedKey], Principal | None]


verdicts: RecentAnswers[Principal | None] = RecentAnswers(CACHE_S, CACHE_ENTRIES)
_lookups: dict[KeyKind, Lookup] = {}


def register_lookup(kind: KeyKind, lookup: Lookup) -> None:
    """Has keys of this kind found by `lookup`, which runs under platform scope and compares digests itself."""
    _lookups[kind] = lookup


def resolve_key(plain: str) -> Principal:
    """The holder of a key. Blocking: it may ask the database. Raises NotAuthenticated."""
    parsed = _parse(plain)
    return _known(verdicts.get(digest_key(plain), partial(_look_up, parsed)))


async def resolve_key_async(plain: str) -> Principal:
    """The same for coroutines: at once while the verdict is remembered, else in a thread.

    Not `asyncio.to_thread`: its threads would each keep a connection of the pool for good.
    """
    _parse(plain)
    remembered = verdicts.look(digest_key(plain))
    if remembered is not None:
        return _known(remembered[0])
    return await database_sync_to_async(resolve_key, thread_sensitive=False)(plain)


def _parse(plain: str) -> ParsedKey:
    parsed = parse_key(plain)
    if parsed is None:
        raise NotAuthenticated("The key is not valid.")
    return parsed


def _known(principal: Principal | None) -> Principal:
    if principal is None:
        raise NotAuthenticated("The key is unknown, revoked or expired.")
    return principal


def _look_up(parsed: ParsedKey) -> Principal | None:
    lookup = _lookups.get(parsed.kind, look_up_business_key)
    with platform_scope():
        return lookup(parsed)


def look_up_business_key(parsed: ParsedKey) -> Principal | None:
    now = timezone.now()
    for key in ApiKey.objects.live(now).with_prefix(parsed.prefix):
        if key.kind == parsed.kind and key_matches(parsed.plain, key.digest):
            ApiKey.objects.filter(pk=key.pk).unused_since(now - USE_IS_NOTED_EVERY).update(last_used_at=now)
            return principal_of(key)
    return None


def principal_of(key: ApiKey) -> Principal:
    return Principal(
        kind=PrincipalKind(key.kind),
        business_id=key.business_id,
        key_id=key.pk,
        allowed_origins=tuple(key.allowed_origins),
        scopes=tuple(key.scopes),
        label=str(key),
    )
