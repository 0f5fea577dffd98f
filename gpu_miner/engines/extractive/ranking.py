"""Which sentences answer a question: BM25 over words and concepts, across languages."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gpu_miner.engines.extractive.cues import (
    Name,
    is_ended,
    is_lead_in,
    is_prose,
    names_in,
    subject_of,
    wants_definition,
)
from gpu_miner.engines.extractive.kinds import CONCEPT_OF_KIND, asked_kinds, told_kinds
from gpu_miner.engines.extractive.languages import COMMON_WORDS, SKIPPED_WORDS, detect, script_language
from gpu_miner.engines.extractive.lexicon import lexicon
from gpu_miner.engines.extractive.passages import Sentence, sentences_of
from gpu_miner.engines.extractive.words import fold, is_cjk, runs, similarity, words

# What a function takes, or what a title says after its dash.
_TAIL = re.compile(r"(?<=\w)(?:\s?\(| [—–-] ).*")
# BM25's length normalisation; term frequency hardly matters within one sentence.
LENGTH_WEIGHT = 0.1
# As if this many sentences about other things stood beside the facts: in a page of one line no word would be rare.
BACKGROUND = 20
CONCEPT_MATCH = 0.85
# Where the facts use the visitor's very word, other words for the same thing are second choice.
LESSER_CONCEPT_MATCH = 0.8
LITERAL_MATCH = 0.9
CONTEXT_MATCH = 0.7
# Between two sentences that both say it, the one under the fitting heading is meant.
CONTEXT_BONUS = 0.15
EARLIER_WEIGHT = 0.4
# A word the facts lack counts against them; less so in another language, where they may have it under another name.
UNKNOWN = 0.8
FOREIGN_UNKNOWN = 0.35
KIND_BONUS = 1.5
SAME_LANGUAGE_BONUS = 1.1
MIN_MATCH = 0.3
# What stands first under a heading that says what was asked is most often the answer; what follows, less and less.
TOPIC_BONUS = 0.9
TOPIC_DECAY = 0.6
SLOW_TOPIC_DECAY = 0.85
OUTER_TOPIC_SHARE = 0.8
FITTING_TOPIC = 0.4
# How much of what a sentence does not repeat its heading says for it.
HEADED_SHARE = 0.5
# The first sentence under the very word says what it is, and seldom repeats it.
DEFINITION_BONUS = 0.7
# "What is X?" is answered by "X is …".
SUBJECT_BONUS = 0.5
NAME_WEIGHT = 1.5
NAME_PART_WEIGHT = 0.4
FRAGMENT_SHARE = 0.35
PROGRAM_SHARE = 0.6
LEAD_IN_SHARE = 0.7
FEWEST_FRESH_WORDS = 3
# Sources are told best first.
LATER_SOURCE_COST = 0.02
MOST_SOURCES_COST = 0.1
# A sentence about damage or returns seldom answers a question that mentions neither.
SPECIAL_CASES = frozenset({"damaged", "missing", "return", "cancel", "complaint"})
SPECIAL_CASE_SHARE = 0.85


@dataclass(frozen=True)
class Term:
    """One thing a question is about: the words it may be told in, the concepts it stands for, or a program's name."""

    words: frozenset[str]
    concepts: frozenset[str]
    weight: float = 1.0
    name: Name | None = None


@dataclass(frozen=True)
class Entry:
    """One sentence as the search sees it."""

    sentence: Sentence
    language: str
    words: frozenset[str]
    concepts: frozenset[str]
    context_words: frozenset[str]
    context_concepts: frozenset[str]
    length: int
    topic_words: frozenset[str] = frozenset()
    topic_concepts: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hit:
    """One sentence with its score, and how much of the question it covers, from 0 to 1: with its heading, and alone."""

    entry: Entry
    score: float
    coverage: float
    own_coverage: float
    tells_kind: bool = True
    topic_fit: float = 0.0


@dataclass(frozen=True)
class Query:
    """A question as the search sees it."""

    terms: tuple[Term, ...]
    kinds: frozenset[str]
    language: str
    wants_definition: bool = False
    runs: tuple[str, ...] = ()

    @property
    def concepts(self) -> frozenset[str]:
        return frozenset(concept for term in self.terms for concept in term.concepts)


def search(facts: str, question: str, language: str, earlier: str = "") -> list[Hit]:
    """Sentences of the facts that have to do with the question, best first."""
    terms = _distinct([*terms_of(question, language), *_weakened(terms_of(earlier, language))])
    return _ranked(_entries(facts), _query(terms or _kind_terms(question), question, language))


def search_by_kind(facts: str, question: str, language: str) -> list[Hit]:
    """Sentences that hold the kind of answer the question wants, whatever it is about."""
    return _ranked(_entries(facts), _query(_kind_terms(question), question, language))


def _query(terms: list[Term], question: str, language: str) -> Query:
    return Query(tuple(terms), asked_kinds(question), language, wants_definition(question), tuple(runs(question)))


def _ranked(entries: tuple[Entry, ...], query: Query) -> list[Hit]:
    if not entries or not query.terms:
        return []
    told_in = {entry.language for entry in entries if entry.language}
    foreign = bool(told_in) and query.language not in told_in
    matchers = [_Matcher(term, entries, same_language=not foreign) for term in query.terms]
    own = [[matcher.own(entry) for matcher in matchers] for entry in entries]
    strengths = [
        [matcher.with_context(entry, strength) for matcher, strength in zip(matchers, row, strict=True)]
        for entry, row in zip(entries, own, strict=True)
    ]
    importance = _importance(query.terms, own, strengths, FOREIGN_UNKNOWN if foreign else UNKNOWN)
    average = sum(entry.length for entry in entries) / len(entries)
    aim = _Aim(query, matchers, importance, average)
    hits = [
        aim.hit(entry, row, own_row) for entry, row, own_row in zip(entries, strengths, own, strict=True) if any(row)
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.entry.sentence.position))


class _Aim:
    """Weighs sentences for one question, whose terms and their importance are known."""

    def __init__(
        self, query: Query, matchers: list["_Matcher"], importance: list[float], average_length: float
    ) -> None:
        self._query = query
        self._matchers = matchers
        self._importance = importance
        self._total = sum(importance)
        self._average_length = average_length
        self._topics: dict[tuple[str, str], float] = {}

    def hit(self, entry: Entry, strengths: list[float], own: list[float]) -> Hit:
        gained, alone = _gained(strengths, self._importance), _gained(own, self._importance)
        tells_kind = bool(self._query.kinds & told_kinds(entry.sentence.text))
        topic_fit = self._topic_fit(entry)
        decay = TOPIC_DECAY if self._query.wants_definition else SLOW_TOPIC_DECAY
        gained += HEADED_SHARE * topic_fit * decay**entry.sentence.depth * max(0.0, self._total - gained)
        score = gained * (KIND_BONUS if tells_kind else 1.0) * self._worth(entry, alone)
        score *= _fit(entry, self._query, self._average_length, is_on_topic=topic_fit >= FITTING_TOPIC)
        score *= 1 + TOPIC_BONUS * topic_fit**2 * decay**entry.sentence.depth
        score *= 1 + self._definition_bonus(entry, topic_fit)
        return Hit(entry, score, min(1.0, gained / self._total), alone / self._total, tells_kind, topic_fit)

    def _topic_fit(self, entry: Entry) -> float:
        """How nearly the heading above says what was asked, and nothing else; from 0 to 1."""
        key = (entry.sentence.topic, entry.sentence.context)
        if key not in self._topics:
            self._topics[key] = self._agreement(entry)
        return self._topics[key]

    def _agreement(self, entry: Entry) -> float:
        nearest = [m.within(entry.topic_words, entry.topic_concepts, entry.sentence.topic) for m in self._matchers]
        if not any(nearest):
            return 0.0
        outer = [m.within(entry.context_words, entry.context_concepts, entry.sentence.context) for m in self._matchers]
        strengths = [max(near, OUTER_TOPIC_SHARE * far) for near, far in zip(nearest, outer, strict=True)]
        fit = min(1.0, self._share(strengths)) * self._known_share(entry.topic_words)
        return max(fit, self._same_question(entry.sentence.topic, self._share(nearest)))

    def _same_question(self, topic: str, coverage: float) -> float:
        """The share of a heading's question that the visitor's question holds, small words included."""
        told = runs(topic) if "?" in topic or "？" in topic else []
        if told and f" {' '.join(self._query.runs)} " in f" {' '.join(told)} ":
            return 1.0
        alike = len(set(told).intersection(self._query.runs)) / len(set(told)) if told else 0.0
        return alike * math.sqrt(min(1.0, coverage))

    def _share(self, strengths: list[float]) -> float:
        return _gained(strengths, self._importance) / self._total

    def _known_share(self, told: frozenset[str]) -> float:
        return sum(any(matcher.knows(word) for matcher in self._matchers) for word in told) / max(1, len(told))

    def _definition_bonus(self, entry: Entry, topic_fit: float) -> float:
        if not self._query.wants_definition:
            return 0.0
        is_first = entry.sentence.depth == 0 and not entry.sentence.is_aside
        opens = DEFINITION_BONUS * topic_fit if is_first and topic_fit >= FITTING_TOPIC else 0.0
        return max(opens, self._subject_bonus(entry))

    def _subject_bonus(self, entry: Entry) -> float:
        subject = subject_of(entry.sentence.text) & entry.words
        strengths = [min(1.0, matcher.within(subject, frozenset(), " ".join(subject))) for matcher in self._matchers]
        return SUBJECT_BONUS * self._share(strengths) * self._known_share(subject)

    def _worth(self, entry: Entry, own: float) -> float:
        """Less for what is no sentence and says no more than the question, for programs, and for later sources."""
        worth = 1 - min(MOST_SOURCES_COST, LATER_SOURCE_COST * max(0, entry.sentence.source - 1))
        if not is_prose(entry.sentence.text):
            worth *= PROGRAM_SHARE
        if is_lead_in(entry.sentence.text) or (entry.sentence.is_aside and self._query.wants_definition):
            worth *= LEAD_IN_SHARE
        fresh = [word for word in entry.words if not any(matcher.knows(word) for matcher in self._matchers)]
        if len(fresh) < FEWEST_FRESH_WORDS and not own:
            worth *= FRAGMENT_SHARE
        return worth if fresh or is_ended(entry.sentence.text) else worth * FRAGMENT_SHARE


def _importance(
    terms: tuple[Term, ...], own: list[list[float]], strengths: list[list[float]], missing: float
) -> list[float]:
    """How much each term counts: the fewer sentences say it the more, one the facts lack by what that says."""
    weights = []
    columns = zip(terms, zip(*own, strict=True), zip(*strengths, strict=True), strict=True)
    for term, said, meant in columns:
        known = 1.0 if any(meant) else _unknown_weight(term, missing)
        weights.append(_rarity(said) * term.weight * known)
    return weights


def terms_of(text: str, language: str) -> list[Term]:
    """What the text is about, one term for each word with a meaning, and one for each name of a program."""
    names = names_in(text)
    spoken = [run for run in runs(text) if not is_cjk(run)]
    skipped = SKIPPED_WORDS.get(language) or frozenset().union(*COMMON_WORDS.values())
    found = lexicon().of_words(spoken, language)
    terms = [
        Term(frozenset({word}), concepts, NAME_PART_WEIGHT if any(word in name.parts for name in names) else 1.0)
        for word, concepts in zip(spoken, found, strict=True)
        if word not in skipped and (len(word) > 1 or word.isdigit())
    ]
    terms += [Term(name.parts | {name.pattern.pattern}, frozenset(), NAME_WEIGHT, name) for name in names]
    for run in (run for run in runs(text) if is_cjk(run)):
        terms.extend(_cjk_terms(run, language if language in ("zh", "ja") else "zh"))
    return terms


def _kind_terms(question: str) -> list[Term]:
    """All that "Where are you?" asks for."""
    return [
        Term(frozenset({CONCEPT_OF_KIND[kind]}), frozenset({CONCEPT_OF_KIND[kind]}))
        for kind in asked_kinds(question) & CONCEPT_OF_KIND.keys()
    ]


class _Matcher:
    """Finds one term in sentences; remembers how it compares with each word."""

    def __init__(self, term: Term, entries: Iterable[Entry], *, same_language: bool) -> None:
        self._term = term
        self._same_language = same_language
        self._known: dict[str, float] = {}
        literal = any(self._with(word) >= LITERAL_MATCH for entry in entries for word in entry.words)
        self._concept_match = LESSER_CONCEPT_MATCH if literal else CONCEPT_MATCH

    def own(self, entry: Entry) -> float:
        """How surely the sentence itself speaks of the term, from 0 to 1."""
        return self.within(entry.words, entry.concepts, entry.sentence.text)

    def with_context(self, entry: Entry, own: float) -> float:
        """The same, its headings and the question above it included."""
        context = self.within(entry.context_words, entry.context_concepts, entry.sentence.context)
        return max(own, CONTEXT_MATCH * context) + CONTEXT_BONUS * context

    def knows(self, word: str) -> bool:
        return word in self._term.words or self._with(word) >= LITERAL_MATCH

    def within(self, told: frozenset[str], concepts: frozenset[str], text: str) -> float:
        if self._term.name is not None:
            return 1.0 if self._term.name.pattern.search(fold(text)) else 0.0
        met = len(self._term.concepts & concepts)
        by_concept = self._concept_match * (0.75 + 0.25 * met / len(self._term.concepts)) if met else 0.0
        return max(by_concept, max((self._with(word) for word in told), default=0.0))

    def _with(self, told: str) -> float:
        if told not in self._known:
            if self._term.name is not None:
                self._known[told] = 0.0
                return 0.0
            best = max(similarity(asked, told, same_language=self._same_language) for asked in self._term.words)
            self._known[told] = best if best > MIN_MATCH else 0.0
        return self._known[told]


@lru_cache(maxsize=64)
def _entries(facts: str) -> tuple[Entry, ...]:
    whole = detect(facts) or detect(facts, Counter(lexicon().votes(runs(facts))))
    return tuple(_entry(sentence, whole) for sentence in sentences_of(facts))


def _entry(sentence: Sentence, whole: str) -> Entry:
    language = script_language(sentence.text) or detect(f"{sentence.text} {sentence.context}") or whole
    told, concepts = _meaning(sentence.text, language)
    concepts |= {CONCEPT_OF_KIND[kind] for kind in told_kinds(sentence.text) & CONCEPT_OF_KIND.keys()}
    context_words, context_concepts = _meaning(sentence.context, language)
    topic_words, topic_concepts = _meaning(_TAIL.sub("", sentence.topic), language)
    return Entry(
        sentence,
        language,
        told,
        concepts,
        context_words,
        context_concepts,
        max(1, len(words(sentence.text))),
        topic_words,
        topic_concepts,
    )


def _meaning(text: str, language: str) -> tuple[frozenset[str], frozenset[str]]:
    common = COMMON_WORDS.get(language, frozenset())
    spoken = [run for run in runs(text) if not is_cjk(run)]
    concepts = {
        concept
        for word, found in zip(spoken, lexicon().of_words(spoken, language), strict=True)
        if word not in common
        for concept in found
    }
    for run in (run for run in runs(text) if is_cjk(run)):
        for _, found in lexicon().in_run(run, language if language in ("zh", "ja") else "zh"):
            concepts |= found
    told = frozenset(word for word in words(text) if word not in common)
    return told, frozenset(concepts)


def _cjk_terms(run: str, language: str) -> list[Term]:
    terms, rest = [], run
    for entry, concepts in lexicon().in_run(run, language):
        if entry in rest:
            rest = rest.replace(entry, " ")
            terms.append(Term(frozenset(words(entry)) or frozenset({entry}), concepts))
    terms.extend(Term(frozenset({pair}), frozenset(), 0.5) for part in rest.split() for pair in words(part))
    return terms


def _weakened(terms: Iterable[Term]) -> list[Term]:
    return [Term(term.words, term.concepts, term.weight * EARLIER_WEIGHT) for term in terms]


def _distinct(terms: list[Term]) -> list[Term]:
    """One term for each set of words; a word said twice does not count twice."""
    kept: dict[frozenset[str], Term] = {}
    for term in terms:
        kept.setdefault(term.words, term)
    return list(kept.values())


def _rarity(column: tuple[float, ...]) -> float:
    """BM25's inverse document frequency, from how many sentences the term is in."""
    number, found = len(column) + BACKGROUND, sum(strength > MIN_MATCH for strength in column)
    return math.log(1 + (number - found + 0.5) / (found + 0.5))


def _unknown_weight(term: Term, missing: float) -> float:
    """A word whose meaning we know is missing for certain, whatever the language."""
    return 1.0 if term.concepts else missing


def _gained(strengths: list[float], importance: list[float]) -> float:
    return sum(strength * weight for strength, weight in zip(strengths, importance, strict=True))


def _fit(entry: Entry, query: Query, average: float, *, is_on_topic: bool) -> float:
    """What speaks for a sentence beside its words: the right length, no other trouble, the visitor's language."""
    fit = 1 / (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * entry.length / average)
    if not is_on_topic and (entry.concepts & SPECIAL_CASES) - query.concepts:
        fit *= SPECIAL_CASE_SHARE
    return fit * SAME_LANGUAGE_BONUS if entry.language == query.language else fit
