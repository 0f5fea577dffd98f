"""Real questions about two real-sized help pages, in ten languages."""

from functools import cache
from pathlib import Path

import pytest

from gpu_miner.engines.extractive.passages import Material, material_of
from gpu_miner.engines.extractive.phrases import PHRASES
from gpu_miner.engines.extractive.reply import compose

HERE = Path(__file__).parent


@cache
def page(name: str) -> str:
    return (HERE / f"help_{name}.txt").read_text(encoding="utf-8")


def english_shop(question: str, earlier: str = "") -> str:
    return compose(Material(page("en"), question, earlier))


def french_bakery(question: str) -> str:
    return compose(Material(page("fr"), question))


def quotes_in(reply: str, language: str) -> list[str]:
    opening, closing = PHRASES[language].marks
    return [part.split(closing)[0] for part in reply.split(opening)[1:]]


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("How much is shipping?", "Delivery of accessories costs €4.95"),
        ("How long does delivery of a bike take?", "within 5 to 8 working days"),
        ("Do you ship to Switzerland?", "do not ship to Switzerland"),
        ("Can I return a bike I have already ridden?", "ridden for less than 50 km"),
        ("What is your return policy?", "within 30 days of delivery"),
        ("When will I get my money back?", "We refund the amount"),
        ("Do you have a warranty on the battery?", "two-year warranty"),
        ("My bike arrived damaged, what should I do?", "send us photos within 48 hours"),
        ("Are you open on Sundays?", "closed on Sunday"),
        ("Where is your shop?", "Oudegracht 214"),
        ("Can I pay with PayPal?", "PayPal, Klarna"),
        ("I forgot my password", "Forgot password"),
        ("can i cancel my order", "cancelled free of charge"),
        ("Do you repair other brands?", "repairs all brands"),
        ("Can I test a bike?", "Test rides are free"),
        ("Is there parking?", "car park"),
        ("Who founded the company?", "Marieke and Jonas de Wit"),
        ("How do I delete my account?", "privacy@velora.example"),
        ("How can I contact you?", "+31 30 555 0142"),
        ("How much does a new battery cost?", "€489"),
        ("Can I change the delivery address?", "change your delivery address"),
        ("What do you do?", "family-run bike shop"),
    ],
)
def test_english_questions_about_english_facts(question: str, expected: str) -> None:
    reply = english_shop(question)
    assert reply.startswith("From the information I have")
    assert any(expected in quote for quote in quotes_in(reply, "en")), reply


@pytest.mark.parametrize(
    ("language", "question", "expected"),
    [
        ("fr", "Quels sont les frais de livraison ?", "costs €4.95"),
        ("fr", "Combien de temps pour recevoir mon vélo ?", "5 to 8 working days"),
        ("fr", "Puis-je payer en plusieurs fois ?", "three instalments"),
        ("fr", "Livrez-vous en Suisse ?", "Switzerland"),
        ("fr", "Quels sont vos horaires d'ouverture ?", "10:00 to 18:00"),
        ("fr", "J'ai oublié mon mot de passe", "Forgot password"),
        ("fr", "Où se trouve votre magasin ?", "Oudegracht 214"),
        ("fr", "Comment vous contacter ?", "help@velora.example"),
        ("de", "Wie lange dauert die Lieferung?", "working days"),
        ("de", "Was kostet der Versand?", "€4.95"),
        ("de", "Kann ich mit Kreditkarte bezahlen?", "Visa"),
        ("de", "Wie kann ich meine Bestellung stornieren?", "cancelled"),
        ("de", "Habt ihr am Samstag geöffnet?", "Saturday"),
        ("de", "Wie hoch sind die Rücksendekosten?", "€35"),
        ("de", "Ich möchte mein Fahrrad zurückgeben", "Bicycles can be returned"),
        ("es", "¿Cuánto cuesta el envío?", "€4.95"),
        ("es", "¿Puedo devolver una bicicleta?", "Bicycles can be returned"),
        ("es", "¿Dónde está la tienda?", "Oudegracht 214"),
        ("es", "¿Aceptan tarjetas de crédito?", "Visa"),
        ("it", "Posso pagare a rate?", "instalments"),
        ("it", "Quanto costa la spedizione?", "€4.95"),
        ("pt", "Quanto custa o envio?", "€4.95"),
        ("pt", "Posso cancelar a minha encomenda?", "cancelled"),
        ("nl", "Wat zijn de openingstijden?", "10:00 to 18:00"),
        ("nl", "Kan ik mijn bestelling annuleren?", "cancelled"),
        ("ru", "Сколько стоит доставка?", "€4.95"),
        ("ru", "Какая гарантия на аккумулятор?", "two-year warranty"),
        ("zh", "运费是多少？", "costs €4"),
        ("zh", "你们周日营业吗？", "closed on Sunday"),
        ("ja", "送料はいくらですか？", "costs €4"),
        ("ja", "保証期間はどのくらいですか？", "warranty"),
    ],
)
def test_questions_in_other_languages_find_the_english_facts(language: str, question: str, expected: str) -> None:
    reply = english_shop(question)
    assert reply.startswith(PHRASES[language].quote_foreign.split("{")[0]), reply
    assert any(expected in quote for quote in quotes_in(reply, language)), reply


@pytest.mark.parametrize(
    ("language", "question", "expected"),
    [
        ("fr", "À quelle heure ouvrez-vous le dimanche ?", "le dimanche de 7 h à 13 h"),
        ("fr", "Êtes-vous ouverts le lundi ?", "fermée le lundi"),
        ("fr", "Puis-je payer par chèque ?", "Les chèques ne sont pas acceptés"),
        ("fr", "Avez-vous du pain sans gluten ?", "uniquement le vendredi"),
        ("fr", "Y a-t-il le wifi ?", "Le Wi-Fi est gratuit"),
        ("fr", "Où êtes-vous ?", "12 quai Saint-Vincent"),
        ("en", "Are you open on Sunday?", "le dimanche de 7 h à 13 h"),
        ("en", "How much is a workshop?", "45 €"),
        ("en", "Do you have vegan options?", "véganes"),
        ("de", "Wann habt ihr geöffnet?", "Nous sommes ouverts"),
        ("es", "¿Cuánto cuesta el envío?", "5 €"),
    ],
)
def test_questions_about_french_facts(language: str, question: str, expected: str) -> None:
    reply = french_bakery(question)
    assert any(expected in quote for quote in quotes_in(reply, language)), reply


@pytest.mark.parametrize(
    ("language", "question"),
    [
        ("en", "Do you sell skateboards?"),
        ("en", "Do you have vegan food?"),
        ("fr", "Vendez-vous des trottinettes ?"),
        ("de", "Verkauft ihr Skateboards?"),
        ("es", "¿Venden patinetes?"),
        ("ja", "ペットフードはありますか"),
    ],
)
def test_what_is_not_there_is_not_made_up(language: str, question: str) -> None:
    assert english_shop(question) == PHRASES[language].nothing


def test_a_doubtful_quote_says_that_it_is_one() -> None:
    assert english_shop("What is the capital of France?").startswith("I am not sure")


def test_every_quote_stands_in_the_facts_word_for_word() -> None:
    flat = " ".join(page("en").split())
    for question in ("How much is shipping?", "Was kostet der Versand?", "¿Cuánto cuesta el envío?"):
        reply = english_shop(question)
        language = {"H": "en", "W": "de", "¿": "es"}[question[0]]
        for quote in quotes_in(reply, language):
            assert quote in flat


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "hello"),
        ("en", "Hi there!"),
        ("fr", "Bonjour"),
        ("de", "Guten Tag"),
        ("es", "¡Hola!"),
        ("ja", "こんにちは"),
    ],
)
def test_a_greeting_is_greeted(language: str, said: str) -> None:
    assert english_shop(said) == PHRASES[language].greeting


@pytest.mark.parametrize(
    ("language", "said"), [("en", "thanks!"), ("fr", "Merci beaucoup"), ("de", "Vielen Dank"), ("ru", "спасибо")]
)
def test_thanks_are_answered(language: str, said: str) -> None:
    assert english_shop(said) == PHRASES[language].thanks


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "I want to talk to a human"),
        ("fr", "Je voudrais parler à un conseiller"),
        ("de", "Kann ich mit einem Mitarbeiter sprechen?"),
    ],
)
def test_who_asks_for_a_person_is_offered_one(language: str, said: str) -> None:
    assert english_shop(said) == PHRASES[language].human


def test_a_question_that_leans_on_the_one_before() -> None:
    assert "Switzerland" in english_shop("And to Switzerland?", earlier="Do you ship to Germany?")


def test_facts_in_the_visitors_language_come_first() -> None:
    facts = "Shipping costs 5 euros within Europe.\n\nDer Versand kostet innerhalb Europas 5 Euro und dauert drei Tage."
    assert compose(Material(facts, "Was kostet der Versand?")) == (
        "Aus den Informationen, die mir vorliegen: „Der Versand kostet innerhalb Europas 5 Euro und dauert drei Tage.“"
    )
    assert "Shipping costs 5 euros" in compose(Material(facts, "How much is shipping?"))


@pytest.mark.parametrize("question", ["", "   ", "?!", "🚲🚲", "a" * 5000, "\u202e\u0000", "<facts></facts>"])
@pytest.mark.parametrize("facts", ["", "???", "\n\n\n", "one", "# Only\n## Headings"])
def test_odd_questions_and_facts_are_no_crash(question: str, facts: str) -> None:
    assert compose(Material(facts, question))


def test_a_quote_of_a_numbered_source_carries_its_number() -> None:
    facts = (
        "[1] About our shop › Shipping within the United Kingdom and abroad\nStandard delivery costs 4.90 euros.\n\n"
        "[2] Returns\nYou may return a bicycle within 30 days."
    )
    system = f"Answer from the facts.\n<facts>\nWe sell bicycles.\n</facts>\n\n<facts>\n{facts}\n</facts>"
    asked = "Within how many days may I return a bicycle?"
    reply = compose(material_of([{"role": "system", "content": system}, {"role": "user", "content": asked}]))
    assert reply == "From the information I have: “You may return a bicycle within 30 days.” [2]"


def test_a_quote_of_facts_without_numbers_carries_none() -> None:
    system = "<facts>\nYou may return a bicycle within 30 days.\n</facts>"
    asked = "Within how many days may I return a bicycle?"
    reply = compose(material_of([{"role": "system", "content": system}, {"role": "user", "content": asked}]))
    assert "[" not in reply
