"""Telling languages apart from a few words."""

import pytest

from gpu_miner.engines.extractive.languages import LANGUAGES, SKIPPED_WORDS
from gpu_miner.engines.extractive.passages import Material
from gpu_miner.engines.extractive.phrases import PHRASES
from gpu_miner.engines.extractive.reply import visitor_language


@pytest.mark.parametrize(
    ("question", "language"),
    [
        ("Do you ship to Germany?", "en"),
        ("refund please", "en"),
        ("Livrez-vous en Suisse ?", "fr"),
        ("remboursement ?", "fr"),
        ("Wie lange dauert die Lieferung?", "de"),
        ("Versandkosten?", "de"),
        ("¿Cuánto cuesta el envío?", "es"),
        ("devoluciones", "es"),
        ("Quanto costa la spedizione?", "it"),
        ("Posso cancelar a minha encomenda?", "pt"),
        ("Wat zijn de openingstijden?", "nl"),
        ("Сколько стоит доставка?", "ru"),
        ("运费是多少？", "zh"),
        ("PayPal可以吗", "zh"),
        ("返品できますか？", "ja"),
    ],
)
def test_a_short_question_is_enough(question: str, language: str) -> None:
    assert visitor_language(Material("Some English facts about the shop.", question)) == language


def test_a_name_alone_takes_the_language_spoken_before() -> None:
    assert visitor_language(Material("facts in English", "PayPal?", earlier="Wie kann ich bei euch bezahlen?")) == "de"


def test_what_says_nothing_takes_the_language_of_the_facts() -> None:
    assert visitor_language(Material("Nous sommes ouverts du lundi au samedi.", "???")) == "fr"
    assert visitor_language(Material("", "42")) == "en"


def test_every_language_has_all_its_phrases() -> None:
    assert set(PHRASES) == set(LANGUAGES)
    for phrases in PHRASES.values():
        for template in (phrases.quote, phrases.quote_foreign, phrases.unsure):
            assert template.count("{quote}") == 1
        assert all((phrases.nothing, phrases.human, phrases.greeting, phrases.thanks, *phrases.marks))


def test_spaced_languages_know_their_fillers() -> None:
    for language in set(LANGUAGES) - {"zh", "ja"}:
        assert len(SKIPPED_WORDS[language]) > 80
