"""Questions that lean on the ones before."""

from __future__ import annotations

from knowledge.followups import standing_alone


def test_a_question_of_its_own_stays_as_it_is() -> None:
    question = "Within how many days can I return a damaged helmet?"
    assert standing_alone(question, ["What does delivery cost?"]) == question


def test_a_question_that_leans_takes_the_words_before_it_along() -> None:
    assert standing_alone("And how long does it take?", ["What does delivery cost?"]).endswith("delivery cost")


def test_the_newest_words_come_first_and_none_twice() -> None:
    found = standing_alone("And for children?", ["Do you rent helmets?", "Do you rent bicycles?"])
    assert found == "And for children? rent bicycles helmets"


def test_accents_stay_for_the_stemmer() -> None:
    assert "Rückgabe" in standing_alone("Und wie lange?", ["Wie geht die Rückgabe?"])


def test_the_first_question_has_nothing_to_lean_on() -> None:
    assert standing_alone("And this?", []) == "And this?"
