"""Folding, cutting and comparing words."""

import pytest

from gpu_miner.engines.extractive.words import fold, runs, similarity, words


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Où ÉTAIT-il", "ou etait-il"),
        ("Straße", "strasse"),
        ("Ёлка", "елка"),
        ("ﬁn", "fin"),
        ("が", "が"),
        ("ＡＢＣ", "abc"),
    ],
)
def test_folding_takes_accents_and_case(text: str, folded: str) -> None:
    assert fold(text) == folded


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("It's €4.95, at 9:30!", ["it", "s", "4.95", "at", "9:30"]),
        ("l'heure d’été", ["l", "heure", "d", "ete"]),
        ("E-mail or Wi-Fi", ["email", "or", "wifi"]),
        ("PayPal支付吗", ["paypal", "支付吗"]),
        ("", []),
    ],
)
def test_words_are_found(text: str, found: list[str]) -> None:
    assert runs(text) == found


def test_chinese_and_japanese_become_pairs_with_a_meaning() -> None:
    assert words("运费是多少") == ["运费", "费是"]
    assert words("送料はいくらですか") == ["送料", "料は"]


@pytest.mark.parametrize(
    ("asked", "told"),
    [("return", "returned"), ("open", "opening"), ("shop", "shops"), ("livrer", "livrez"), ("bestellung", "bestellen")],
)
def test_other_endings_are_the_same_word(asked: str, told: str) -> None:
    assert similarity(asked, told, same_language=True) >= 0.75


@pytest.mark.parametrize(
    ("asked", "told"), [("car", "care"[:2]), ("order", "border"), ("2 pm"[0], "20"), ("inter", "international")]
)
def test_other_words_are_other_words(asked: str, told: str) -> None:
    assert similarity(asked, told, same_language=True) == 0


def test_cognates_count_between_languages_only() -> None:
    assert similarity("reservierung", "reservation", same_language=False) > 0.5
    assert similarity("reservierung", "reservation", same_language=True) == 0
