"""From the text of a key to its holder."""

from datetime import timedelta

import pytest
from channels.db import database_sync_to_async
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from accounts.choices import KeyKind
from accounts.keys import ParsedKey, digest_key, new_key
from accounts.models import ApiKey, Business
from accounts.principals import Principal, PrincipalKind
from accounts.resolution import _lookups, register_lookup, resolve_key, resolve_key_async, verdicts
from accounts.services import erase_business, revoke_api_key
from accounts.tenancy import platform_scope
from accounts.tests.factories import ORIGIN, ApiKeyFactory
from mia.lib.errors import NotAuthenticated

pytestmark = pytest.mark.django_db


def stored(key: ApiKey) -> ApiKey:
    with platform_scope():
        return ApiKey.objects.get(pk=key.pk)


@pytest.mark.parametrize("kind", [KeyKind.PUBLISHABLE, KeyKind.SECRET, KeyKind.CLIENT])
def test_a_live_key_names_its_holder(kind: KeyKind) -> None:
    key = ApiKeyFactory(kind=kind)
    principal = resolve_key(key.plain)
    assert (principal.kind, principal.business_id, principal.key_id) == (PrincipalKind(kind), key.business_id, key.pk)
    assert principal.allowed_origins == ((ORIGIN,) if kind == KeyKind.PUBLISHABLE else ())


def test_a_revoked_key_opens_nothing() -> None:
    with pytest.raises(NotAuthenticated):
        resolve_key(ApiKeyFactory(revoked=True).plain)


def test_an_expired_key_opens_nothing() -> None:
    with pytest.raises(NotAuthenticated):
        resolve_key(ApiKeyFactory(expired=True).plain)


def test_a_key_that_expires_later_works() -> None:
    key = ApiKeyFactory(expires_at=timezone.now() + timedelta(minutes=1))
    assert resolve_key(key.plain).key_id == key.pk


def test_a_forged_key_with_a_known_prefix_opens_nothing(secret_key: ApiKey) -> None:
    forged = secret_key.plain[:-1] + ("a" if secret_key.plain[-1] != "a" else "b")
    with pytest.raises(NotAuthenticated):
        resolve_key(forged)


def test_a_key_does_not_work_as_another_kind(publishable_key: ApiKey) -> None:
    with pytest.raises(NotAuthenticated):
        resolve_key(publishable_key.plain.replace("mia_pk_", "mia_sk_"))


def test_a_key_copied_from_the_database_opens_nothing(secret_key: ApiKey) -> None:
    for text in (secret_key.digest, secret_key.prefix, f"mia_sk_{secret_key.prefix}{secret_key.digest[:32]}"):
        with pytest.raises(NotAuthenticated):
            resolve_key(text)


def test_two_businesses_may_hold_keys_with_one_prefix(secret_key: ApiKey) -> None:
    twin_text = secret_key.plain[:-32] + "x" * 32
    twin = ApiKeyFactory()
    with platform_scope():
        ApiKey.objects.filter(pk=twin.pk).update(prefix=secret_key.prefix, digest=digest_key(twin_text))
    assert resolve_key(twin_text).business_id == twin.business_id
    assert resolve_key(secret_key.plain).business_id == secret_key.business_id


def test_a_verdict_is_remembered_for_five_seconds_at_most(
    secret_key: ApiKey, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    assert verdicts.lifetime_s <= 5
    resolve_key(secret_key.plain)
    with django_assert_num_queries(0):
        resolve_key(secret_key.plain)


def test_a_wrong_key_is_remembered_too(secret_key: ApiKey, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    wrong = new_key(KeyKind.SECRET).plain
    with pytest.raises(NotAuthenticated):
        resolve_key(wrong)
    with django_assert_num_queries(0), pytest.raises(NotAuthenticated):
        resolve_key(wrong)


def test_revoking_ends_a_key_at_once_in_this_process(
    secret_key: ApiKey, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    resolve_key(secret_key.plain)
    with django_capture_on_commit_callbacks(execute=True):
        revoke_api_key(actor=None, key=secret_key)
    with pytest.raises(NotAuthenticated):
        resolve_key(secret_key.plain)


def test_erasing_a_business_ends_its_keys(business: Business, secret_key: ApiKey) -> None:
    resolve_key(secret_key.plain)
    erase_business(actor=None, business=business)
    with pytest.raises(NotAuthenticated):
        resolve_key(secret_key.plain)


def test_use_is_noted_once_a_minute(secret_key: ApiKey) -> None:
    resolve_key(secret_key.plain)
    first = stored(secret_key).last_used_at
    assert first is not None
    verdicts.clear()
    resolve_key(secret_key.plain)
    assert stored(secret_key).last_used_at == first
    with platform_scope():
        ApiKey.objects.filter(pk=secret_key.pk).update(last_used_at=first - timedelta(minutes=2))
    verdicts.clear()
    resolve_key(secret_key.plain)
    assert (stored(secret_key).last_used_at or first) >= first


def test_a_wrong_key_leaves_no_trace_of_use(secret_key: ApiKey) -> None:
    with pytest.raises(NotAuthenticated):
        resolve_key(secret_key.plain[:-32] + "x" * 32)
    assert stored(secret_key).last_used_at is None


def test_another_app_finds_its_own_kind_of_key() -> None:
    made = new_key(KeyKind.MINER)

    def find_miner(parsed: ParsedKey) -> Principal | None:
        return Principal(kind=PrincipalKind.MINER, key_id=7) if parsed.prefix == made.prefix else None

    before = dict(_lookups)
    register_lookup(KeyKind.MINER, find_miner)
    try:
        assert resolve_key(made.plain).key_id == 7
        with pytest.raises(NotAuthenticated):
            resolve_key(new_key(KeyKind.MINER).plain)
    finally:
        _lookups.clear()
        _lookups.update(before)


@pytest.mark.django_db(transaction=True)
@pytest.mark.asyncio
async def test_coroutines_resolve_keys_too() -> None:
    key = await database_sync_to_async(ApiKeyFactory)()
    assert (await resolve_key_async(key.plain)).key_id == key.pk
    with pytest.raises(NotAuthenticated):
        await resolve_key_async("nonsense")
    with pytest.raises(NotAuthenticated):
        await resolve_key_async(new_key(KeyKind.SECRET).plain)


@pytest.mark.asyncio
async def test_a_remembered_verdict_costs_a_coroutine_no_query_and_no_thread() -> None:
    made, holder = new_key(KeyKind.SECRET), Principal(kind=PrincipalKind.SECRET, business_id=1)
    wrong = new_key(KeyKind.SECRET)
    verdicts.get(made.digest, lambda: holder)
    verdicts.get(wrong.digest, lambda: None)
    assert await resolve_key_async(made.plain) is holder
    with pytest.raises(NotAuthenticated):
        await resolve_key_async(wrong.plain)
