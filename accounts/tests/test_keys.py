"""The text of keys."""

import re

import pytest
from django.test import override_settings

from accounts.choices import KeyKind
from accounts.keys import NewKey, ParsedKey, digest_key, key_hint, key_matches, new_key, parse_key


@pytest.mark.parametrize(("kind", "tag"), [("publishable", "pk"), ("secret", "sk"), ("client", "ck"), ("miner", "mk")])
def test_a_key_says_its_kind_and_is_found_by_its_prefix(kind: str, tag: str) -> None:
    made = new_key(KeyKind(kind))
    assert re.fullmatch(rf"mia_{tag}_[0-9A-Za-z]{{42}}", made.plain)
    assert parse_key(made.plain) == ParsedKey(kind=KeyKind(kind), prefix=made.prefix, plain=made.plain)
    assert made.plain.startswith(f"mia_{tag}_{made.prefix}")
    assert len(made.prefix) == 10


def test_no_two_keys_are_alike() -> None:
    made = [new_key(KeyKind.SECRET) for _ in range(500)]
    assert len({key.plain for key in made}) == len({key.prefix for key in made}) == 500


def test_what_is_stored_does_not_contain_the_key() -> None:
    made = new_key(KeyKind.SECRET)
    assert re.fullmatch(r"[0-9a-f]{64}", made.digest)
    assert made.plain not in made.digest
    assert made.plain[17:] not in made.prefix


def test_a_key_is_not_printed_by_accident() -> None:
    made = new_key(KeyKind.SECRET)
    assert made.plain not in repr(made)
    assert made.plain not in repr(parse_key(made.plain))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mia_",
        "mia_sk_",
        "mia_sk_" + "a" * 41,
        "mia_sk_" + "a" * 43,
        "mia_xk_" + "a" * 42,
        "MIA_SK_" + "a" * 42,
        "mia_sk_" + "a" * 41 + "-",
        "mia_sk_" + "a" * 41 + "é",
        "mia_sk_" + "٣" * 42,
        "mia_sk_" + "a" * 42 + "\n",
        " mia_sk_" + "a" * 42,
        "mia_sk_" + "a" * 41 + "\x00",
        "mia_sk_" + "a" * 100_000,
        "sk-" + "a" * 45,
    ],
)
def test_what_has_not_the_shape_of_a_key_is_none(text: str) -> None:
    assert parse_key(text) is None


def test_a_key_matches_its_own_digest_only() -> None:
    made, other = new_key(KeyKind.SECRET), new_key(KeyKind.SECRET)
    assert key_matches(made.plain, made.digest)
    assert not key_matches(other.plain, made.digest)
    assert not key_matches(made.plain, "")


def test_the_digest_depends_on_the_secret_of_the_installation() -> None:
    made = new_key(KeyKind.SECRET)
    with override_settings(SECRET_KEY="another secret of at least fifty characters, or nearly so"):
        assert digest_key(made.plain) != made.digest
        assert not key_matches(made.plain, made.digest)


def test_keys_survive_a_rotation_of_the_secret() -> None:
    with override_settings(SECRET_KEY="the old secret"):
        made: NewKey = new_key(KeyKind.MINER)
    with override_settings(SECRET_KEY="the new secret", SECRET_KEY_FALLBACKS=["the old secret"]):
        assert key_matches(made.plain, made.digest)
    with override_settings(SECRET_KEY="the new secret", SECRET_KEY_FALLBACKS=[]):
        assert not key_matches(made.plain, made.digest)


def test_a_hint_shows_the_prefix_only() -> None:
    made = new_key(KeyKind.PUBLISHABLE)
    assert key_hint(KeyKind.PUBLISHABLE, made.prefix) == f"mia_pk_{made.prefix}…"
