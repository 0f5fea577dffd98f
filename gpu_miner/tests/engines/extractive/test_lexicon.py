"""The shared concepts."""

import pytest

from gpu_miner.engines.extractive.lexicon import lexicon


def concepts(word: str, language: str) -> frozenset[str]:
    return lexicon().of_words(word.split(), language)[0]


@pytest.mark.parametrize(
    ("word", "language"),
    [
        ("shipping", "en"),
        ("livraison", "fr"),
        ("lieferung", "de"),
        ("envio", "es"),
        ("spedizione", "it"),
        ("entrega", "pt"),
        ("verzending", "nl"),
        ("доставка", "ru"),
    ],
)
def test_delivery_is_one_concept_in_every_language(word: str, language: str) -> None:
    assert "shipping" in concepts(word, language)


def test_chinese_and_japanese_are_found_inside_a_run() -> None:
    assert any("shipping" in found for _, found in lexicon().in_run("请问配送时间", "zh"))
    assert any("return" in found for _, found in lexicon().in_run("返品はできますか", "ja"))


def test_a_compound_holds_several_concepts() -> None:
    assert {"return", "cost"} <= concepts("rucksendekosten", "de")


def test_a_phrase_counts_for_each_of_its_words() -> None:
    found = lexicon().of_words(["mot", "de", "passe"], "fr")
    assert all("password" in each for each in found)


def test_a_phrase_is_not_the_beginning_of_another() -> None:
    assert "bicycle" not in lexicon().of_words(["bike", "arrived", "damaged"], "en")[2]


def test_an_unknown_language_tries_all() -> None:
    assert "shipping" in concepts("lieferung", "")
    assert "shipping" in concepts("livraison", "")


def test_every_concept_has_words_in_every_language() -> None:
    from importlib.resources import files

    rows = files("gpu_miner.engines.extractive").joinpath("lexicon.tsv").read_text(encoding="utf-8").splitlines()
    table = [row.split("\t") for row in rows]
    assert {len(row) for row in table} == {11}
    assert all(cell.strip() for row in table for cell in row)
    assert len({row[0] for row in table}) == len(table)


def test_votes_count_known_words() -> None:
    votes = lexicon().votes(["versandkosten"])
    assert votes["de"] == 1
    assert votes["fr"] == 0
