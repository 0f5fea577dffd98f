"""What kind of answer a question wants, and which sentences hold one."""

import pytest

from gpu_miner.engines.extractive.kinds import asked_kinds, told_kinds


@pytest.mark.parametrize(
    ("kind", "question"),
    [
        ("price", "How much is it?"),
        ("price", "Was kostet das?"),
        ("price", "¿Cuánto cuesta?"),
        ("price", "多少钱"),
        ("duration", "How long does it take?"),
        ("duration", "Wie lange dauert es?"),
        ("duration", "Combien de temps ?"),
        ("duration", "どのくらいかかりますか"),
        ("time", "When are you open?"),
        ("time", "Quels sont vos horaires ?"),
        ("place", "Where are you?"),
        ("place", "Où êtes-vous ?"),
        ("place", "Где вы находитесь?"),
        ("contact", "How can I reach you?"),
        ("contact", "Wie erreiche ich euch?"),
    ],
)
def test_questions(kind: str, question: str) -> None:
    assert kind in asked_kinds(question)


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("price", "It costs €5."),
        ("price", "Shipping is free."),
        ("duration", "Within 2 to 3 working days."),
        ("duration", "The frame has a ten-year warranty."),
        ("duration", "Innerhalb von 14 Tagen."),
        ("duration", "Sous 48 heures."),
        ("time", "Open from 9:30 to 17:00."),
        ("time", "De 7 h à 19 h 30."),
        ("place", "Oudegracht 214, 3511 NR Utrecht"),
        ("place", "12 rue de la Paix"),
        ("contact", "Write to help@shop.example."),
        ("contact", "Call +31 30 555 0142."),
    ],
)
def test_sentences(kind: str, sentence: str) -> None:
    assert kind in told_kinds(sentence)


def test_a_year_is_no_address() -> None:
    assert "place" not in told_kinds("Founded in Utrecht in 2009 by two friends.")
