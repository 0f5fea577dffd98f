"""Ranking sentences."""

from gpu_miner.engines.extractive.ranking import search, search_by_kind, terms_of


def best(facts: str, question: str, language: str = "en") -> str:
    return search(facts, question, language)[0].entry.sentence.text


def test_the_rarer_word_decides() -> None:
    facts = "We ship to France. We ship to Spain. We ship to Italy. We ship gift cards by e-mail."
    assert best(facts, "Do you ship gift cards?") == "We ship gift cards by e-mail."


def test_a_heading_speaks_for_what_stands_under_it() -> None:
    facts = "Delivery\nIt takes three days.\n\nRepairs\nIt takes two weeks."
    assert best(facts, "How long does delivery take?") == "It takes three days."


def test_a_price_answers_how_much() -> None:
    facts = "Delivery is quick. Delivery costs €5. Delivery is careful."
    assert best(facts, "How much is delivery?") == "Delivery costs €5."


def test_the_visitors_own_word_beats_another_for_the_same_thing() -> None:
    facts = "Couriers bring parcels to your door. Express delivery is possible. Postage is included."
    assert best(facts, "express delivery?") == "Express delivery is possible."


def test_damage_is_no_answer_to_a_question_without_it() -> None:
    facts = "If your parcel arrives damaged write to us within 2 days. Your parcel arrives within 3 days."
    assert best(facts, "When does my parcel arrive?") == "Your parcel arrives within 3 days."


def test_coverage_falls_with_every_word_the_facts_lack() -> None:
    facts = "We repair bikes. We sell tea."
    whole = search(facts, "Do you repair bikes?", "en")[0].coverage
    half = search(facts, "Do you repair zeppelins?", "en")[0].coverage
    assert whole > 0.9
    assert half < 0.5


def test_an_unknown_foreign_word_weighs_less() -> None:
    english = search("We repair bikes.", "Do you repair zeppelins?", "en")[0].coverage
    german = search("We repair bikes.", "Reparieren Sie Luftschiffe?", "de")[0].coverage
    assert german > english


def test_a_single_sentence_of_facts_can_answer() -> None:
    (hit,) = search("We deliver within three days.", "How long does delivery to Lyon take?", "en")
    assert hit.coverage > 0.34


def test_nothing_asked_or_nothing_told_finds_nothing() -> None:
    assert search("", "When?", "en") == []
    assert search("We repair bikes.", "", "en") == []


def test_a_kind_alone_can_be_searched() -> None:
    hits = search_by_kind("We like tea. Find us at 12 Baker Street.", "Where is the thing?", "en")
    assert hits[0].entry.sentence.text == "Find us at 12 Baker Street."


def test_fillers_are_no_terms() -> None:
    assert [set(term.words) for term in terms_of("Could you please tell me about shipping?", "en")] == [{"shipping"}]


def test_scores_never_depend_on_the_order_of_questions() -> None:
    facts = "We ship to France. We ship to Spain."
    first = search(facts, "Spain?", "en")
    search(facts, "France?", "en")
    assert search(facts, "Spain?", "en") == first
