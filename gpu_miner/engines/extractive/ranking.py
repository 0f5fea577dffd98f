"""Which sentences answer a question: BM25 over words and concepts, across languages."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gpu_miner.engines.extractive.kinds import CONCEPT_OF_KIND, asked_kinds, told_kinds
from gpu_miner.engines.extractive.languages import COMMON_WORDS, SKIPPED_WORDS, detect, script_language
from gpu_miner.engines.extractive.lexicon import lexicon
from gpu_miner.engines.extractive.passages import Sentence, sentences_of
from gpu_miner.engines.extractive.words import is_cjk, runs, similarity, words

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
# A sentence about damage or returns seldom answers a question that mentions neither.
SPECIAL_CASES = frozenset({"damaged", "missing", "return", "cancel", "complaint"})
SPECIAL_CASE_SHARE = 0.85


@dataclass(frozen=True)
class Term:
    """One thing a question is about: the words it may be told in, the concepts it stands for."""

    words: frozenset[str]
    concepts: frozenset[str]
    weight: float = 1.0


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


@dataclass(frozen=True)
class Hit:
    """One sentence with its score, and how much of the question it covers, from 0 to 1: with its heading, and alone."""

    entry: Entry
    score: float
    coverage: float
    own_coverage: float
    tells_kind: bool = True


@dataclass(frozen=True)
class Query:
    """A question as the search sees it."""

    terms: tuple[Term, ...]
    kinds: frozenset[str]
    language: str

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
    return Query(tuple(terms), asked_kinds(question), language)


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
    importance = _importance(query.terms, strengths, FOREIGN_UNKNOWN if foreign else UNKNOWN)
    average = sum(entry.length for entry in entries) / len(entries)
    hits = [
        _hit(entry, _gained(row, importance), _gained(own_row, importance), sum(importance), query, average)
        for entry, row, own_row in zip(entries, strengths, own, strict=True)
        if any(row)
    ]
    return sorted(hits, key=lambda hit: (-hit.score, hit.entry.sentence.position))


def _hit(entry: Entry, gained: float, own: float, total: float, query: Query, average: float) -> Hit:
    tells_kind = bool(query.kinds & told_kinds(entry.sentence.text))
    score = gained * _fit(entry, query, average) * (KIND_BONUS if tells_kind else 1.0)
    return Hit(entry, score, min(1.0, gained / total), own / total, tells_kind)


def _importance(terms: tuple[Term, ...], strengths: list[list[float]], missing: float) -> list[float]:
    """How much each term counts: the rarer in the facts the more, one they lack by what that says."""
    weights = []
    for term, column in zip(terms, zip(*strengths, strict=True), strict=True):
        known = 1.0 if any(column) else _unknown_weight(term, missing)
        weights.append(_rarity(column) * term.weight * known)
    return weights


def terms_of(text: str, language: str) -> list[Term]:
    """What the text is about, one term for each word with a meaning."""
    spoken = [run for run in runs(text) if not is_cjk(run)]
    skipped = SKIPPED_WORDS.get(language) or frozenset().union(*COMMON_WORDS.values())
    found = lexicon().of_words(spoken, language)
    terms = [
        Term(frozenset({word}), concepts)
        for word, concepts in zip(spoken, found, strict=True)
        if word not in skipped and (len(word) > 1 or word.isdigit())
    ]
    for run in (run for run in runs(text) if is_cjk(run)):
        terms.extend(_cjk_terms(run, language if language in ("zh", "ja") else "zh"))
    return terms


def _kind_terms(question: str) -> list[Term]:
    """All that "Where are you?" asks for."""
    return [
        Term(frozenset({CONCEPT_OF_KIND[kind]}), frozenset({CONCEPT_OF_KIND[kind]})) for kind in asked_kinds(question)
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
        return self._in(entry.words, entry.concepts)

    def with_context(self, entry: Entry, own: float) -> float:
        """The same, its headings and the question above it included."""
        context = self._in(entry.context_words, entry.context_concepts)
        return max(own, CONTEXT_MATCH * context) + CONTEXT_BONUS * context

    def _in(self, told: frozenset[str], concepts: frozenset[str]) -> float:
        met = len(self._term.concepts & concepts)
        by_concept = self._concept_match * (0.75 + 0.25 * met / len(self._term.concepts)) if met else 0.0
        return max(by_concept, max((self._with(word) for word in told), default=0.0))

    def _with(self, told: str) -> float:
        if told not in self._known:
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
    concepts |= {CONCEPT_OF_KIND[kind] for kind in told_kinds(sentence.text)}
    context_words, context_concepts = _meaning(sentence.context, language)
    return Entry(sentence, language, told, concepts, context_words, context_concepts, max(1, len(words(sentence.text))))


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


def _fit(entry: Entry, query: Query, average: float) -> float:
    """What speaks for a sentence beside its words: the right length, no other trouble, the visitor's language."""
    fit = 1 / (1 - LENGTH_WEIGHT + LENGTH_WEIGHT * entry.length / average)
    if (entry.concepts & SPECIAL_CASES) - query.concepts:
        fit *= SPECIAL_CASE_SHARE
    return fit * SAME_LANGUAGE_BONUS if entry.language == query.language else fit
