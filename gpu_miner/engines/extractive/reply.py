"""Composing the engine's reply: which sentences to quote, in which words to say that they are quotes."""

from collections import Counter
from dataclasses import replace

from gpu_miner.engines.extractive.kinds import asked_kinds
from gpu_miner.engines.extractive.languages import SKIPPED_WORDS, detect, script_language
from gpu_miner.engines.extractive.lexicon import lexicon
from gpu_miner.engines.extractive.passages import Material, sentences_of
from gpu_miner.engines.extractive.phrases import GREETINGS, PHRASES, THANKS, THANKS_HEART
from gpu_miner.engines.extractive.ranking import FITTING_TOPIC, Entry, Hit, search, search_by_kind, terms_of
from gpu_miner.engines.extractive.words import runs

# Found by trial on real help pages: below the first the quote is seldom an answer, above the second nearly always.
FOUND_COVERAGE = 0.34
SURE_COVERAGE = 0.5
MAX_SENTENCES = 3
MAX_QUOTE_CHARS = 420
# A short best sentence ("Returns are free.") is rarely the whole answer.
SHORT_SENTENCE_WORDS = 6
FOLLOWER_SHARE = 0.65
RIVAL_SHARE = 0.9
NATIVE_SHARE = 0.6
GUESSED_KINDS = frozenset({"place", "contact"})
MAX_SMALL_TALK_WORDS = 5
HUMAN_MAX_WORDS = 12


def compose(material: Material) -> str:
    """The whole reply to the material's question."""
    language = visitor_language(material)
    phrases = PHRASES[language]
    said = runs(material.question)
    if not said:
        return phrases.greeting
    if len(said) <= MAX_SMALL_TALK_WORDS and THANKS_HEART.intersection(said) and THANKS.issuperset(said):
        return phrases.thanks
    if len(said) <= MAX_SMALL_TALK_WORDS and GREETINGS.issuperset(said):
        return phrases.greeting
    hits = _preferred(_numbered(_hits(material, language)), language)
    best = next((hit for hit in hits if hit.coverage >= FOUND_COVERAGE), None)
    if (best is None or best.coverage < SURE_COVERAGE) and _wants_human(material.question, language):
        return phrases.human
    if best is None:
        return phrases.nothing
    chosen = _chosen(best, hits, material.facts)
    wording = phrases.quote if best.entry.language in (language, "") else phrases.quote_foreign
    return (wording if best.coverage >= SURE_COVERAGE else phrases.unsure).format(quote=_quoted(chosen, phrases.marks))


def visitor_language(material: Material) -> str:
    """The language of the question, else of what was said before, else of the facts, else English."""
    for text in (material.question, f"{material.question} {material.earlier}"):
        found = script_language(text) or detect(text, _votes(text))
        if found:
            return found
    return detect(material.facts) or "en"


def _votes(text: str) -> Counter[str]:
    return Counter(lexicon().votes(runs(text)))


def _hits(material: Material, language: str) -> list[Hit]:
    """Sentences for the question; a question too short to stand alone borrows from the one before it."""
    own = terms_of(material.question, language)
    leans = material.earlier and len(own) <= 1
    if not own and not material.earlier and not asked_kinds(material.question):
        return _about(material)
    hits = search(material.facts, material.question, language, material.earlier if leans else "")
    if (not hits or hits[0].coverage < FOUND_COVERAGE) and asked_kinds(material.question) & GUESSED_KINDS:
        # "Where is the bakery?": no sentence says bakery, but one holds an address.
        guesses = search_by_kind(material.facts, material.question, language)
        return [replace(hit, coverage=min(hit.coverage, FOUND_COVERAGE)) for hit in guesses]
    return hits


def _about(material: Material) -> list[Hit]:
    """ "What do you do?" has no word to look for: the facts open with the answer."""
    opening = sentences_of(material.facts)[:2]
    empty: frozenset[str] = frozenset()
    language = detect(material.facts)
    return [Hit(Entry(sentence, language, empty, empty, empty, empty, 1), 1.0, 1.0, 1.0) for sentence in opening]


def _numbered(hits: list[Hit]) -> list[Hit]:
    """Each sentence once: as its numbered source has it, where the facts say the same without a number."""
    sources = {hit.entry.sentence.text for hit in hits if hit.entry.sentence.source}
    return [hit for hit in hits if hit.entry.sentence.source or hit.entry.sentence.text not in sources]


def _preferred(hits: list[Hit], language: str) -> list[Hit]:
    """Only sentences in the visitor's language, where they answer nearly as well as those in others."""
    native = [hit for hit in hits if hit.entry.language == language]
    if native and native[0].coverage >= max(FOUND_COVERAGE, NATIVE_SHARE * hits[0].coverage):
        return native
    return hits


def _wants_human(question: str, language: str) -> bool:
    said = [word for word in runs(question) if word not in SKIPPED_WORDS[language]]
    concepts = {concept for found in lexicon().of_words(runs(question), language) for concept in found}
    by_run = {concept for run in said for _, found in _run_concepts(run, language) for concept in found}
    return len(runs(question)) <= HUMAN_MAX_WORDS and "human" in concepts | by_run


def _run_concepts(run: str, language: str) -> list[tuple[str, frozenset[str]]]:
    return lexicon().in_run(run, language) if language in ("zh", "ja") else []


def _chosen(best: Hit, hits: list[Hit], facts: str) -> list[Entry]:
    """The best sentence, what completes it, and what is nearly as good; in the order of the facts."""
    chosen = {best.entry.sentence.position: best.entry}
    room = MAX_QUOTE_CHARS - len(best.entry.sentence.text)
    for hit in _companions(best, [hit for hit in hits if hit is not best], facts):
        sentence = hit.entry.sentence
        if len(chosen) == MAX_SENTENCES or len(sentence.text) > room:
            continue
        if sentence.position not in chosen and all(sentence.text != entry.sentence.text for entry in chosen.values()):
            chosen[sentence.position] = hit.entry
            room -= len(sentence.text)
    return [chosen[position] for position in sorted(chosen)]


def _companions(best: Hit, others: list[Hit], facts: str) -> list[Hit]:
    place = best.entry.sentence
    followers = [
        hit
        for hit in others
        if hit.entry.sentence.block == place.block
        and hit.entry.sentence.position - place.position in (-1, 1, 2)
        and hit.tells_kind >= best.tells_kind
        and hit.own_coverage >= FOLLOWER_SHARE * best.own_coverage
    ]
    if best.topic_fit >= FITTING_TOPIC:
        followers = [*_around(best, facts), *followers]
    elif not followers and best.entry.length < SHORT_SENTENCE_WORDS:
        followers = _at(facts, best, [place.position + 1])
    rivals = [
        hit
        for hit in others
        if hit.tells_kind >= best.tells_kind
        and hit.own_coverage >= RIVAL_SHARE * best.coverage
        and hit.score >= RIVAL_SHARE * best.score
        and hit.entry.sentence.context == place.context
        and hit.entry.language == best.entry.language
    ]
    return [*followers, *rivals]


def _around(best: Hit, facts: str) -> list[Hit]:
    """What opens the text under the heading that fits, and what goes on after the best sentence."""
    place = best.entry.sentence
    first = [
        sentence.position
        for sentence in sentences_of(facts)
        if sentence.depth == 0 and (sentence.topic, sentence.section) == (place.topic, place.section)
    ]
    return _at(facts, best, [*first, place.position + 1])


def _at(facts: str, best: Hit, positions: list[int]) -> list[Hit]:
    """The sentences there that belong with the best one, without a score of their own."""
    empty: frozenset[str] = frozenset()
    place = best.entry.sentence
    return [
        Hit(Entry(sentence, best.entry.language, empty, empty, empty, empty, 1), 0.0, 0.0, 0.0)
        for sentence in sentences_of(facts)
        if sentence.position in positions
        and sentence.position != place.position
        and (sentence.block == place.block or (sentence.topic, sentence.section) == (place.topic, place.section))
    ]


def _quoted(chosen: list[Entry], marks: tuple[str, str]) -> str:
    """Neighbours share one pair of quotation marks; sentences from elsewhere get their own, each with its source."""
    quotes: list[list[Entry]] = []
    for entry in chosen:
        last = quotes[-1][-1].sentence if quotes else None
        if last and entry.sentence.position == last.position + 1 and entry.sentence.block == last.block:
            quotes[-1].append(entry)
        else:
            quotes.append([entry])
    gap = "" if chosen[0].language in ("zh", "ja") else " "
    return " ".join(
        f"{marks[0]}{gap.join(entry.sentence.text for entry in quote)}{marks[1]}{_number(quote[0])}" for quote in quotes
    )


def _number(entry: Entry) -> str:
    return f" [{entry.sentence.source}]" if entry.sentence.source else ""
