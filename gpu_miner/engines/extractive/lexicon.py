"""What customers ask about, as concepts that ten languages share; read from lexicon.tsv.

One row is one concept, one column one language. `ship*` stands for every word that starts with it, `sign_up` for
consecutive words. Chinese and Japanese entries are found anywhere in a run of characters.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files

from gpu_miner.engines.extractive.words import runs

# Compounds: "Rücksendekosten" holds both a return and its cost. Shorter stems turn up by accident.
COMPOUNDING = frozenset({"de", "nl"})
MIN_COMPOUND = 9
MIN_INSIDE = 5
LONGEST_PHRASE = 4
UNSPACED = frozenset({"zh", "ja"})


@dataclass
class Vocabulary:
    """One language's column."""

    exact: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    stems: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))

    def add(self, entry: str, concept: str) -> None:
        if entry.endswith("*"):
            self.stems[entry[:-1]].add(concept)
        else:
            self.exact[entry].add(concept)

    def of_word(self, word: str) -> set[str]:
        found = set(self.exact.get(word, ()))
        for length in range(2, len(word) + 1):
            found |= self.stems.get(word[:length], set())
        return found

    def inside(self, compound: str) -> set[str]:
        found: set[str] = set()
        for stem, concepts in self.stems.items():
            if len(stem) >= MIN_INSIDE and stem in compound:
                found |= concepts
        return found


class Lexicon:
    """Looks up concepts; an empty language means that it is not known and all are tried."""

    def __init__(self, rows: Iterable[str]) -> None:
        table = (row.rstrip("\n").split("\t") for row in rows)
        languages = next(table)[1:]
        self._vocabularies = {language: Vocabulary() for language in languages}
        for concept, *cells in table:
            for language, cell in zip(languages, cells, strict=True):
                for entry in cell.split():
                    self._vocabularies[language].add(_spelled(entry), concept)

    def of_words(self, words: Sequence[str], language: str) -> list[frozenset[str]]:
        """The concepts of each word, those of phrases it is part of included."""
        found = [self._of_word(word, language) for word in words]
        for start in range(len(words)):
            for end in range(start + 2, min(start + LONGEST_PHRASE, len(words)) + 1):
                concepts = self._of_phrase("_".join(words[start:end]), language)
                for index in range(start, end) if concepts else ():
                    found[index] |= concepts
        return [frozenset(concepts) for concepts in found]

    def in_run(self, run: str, language: str) -> list[tuple[str, frozenset[str]]]:
        """The entries found in a run of CJK characters, longest first, each with its concepts."""
        vocabulary = self._vocabularies[language]
        entries = sorted((entry for entry in vocabulary.exact if entry in run), key=len, reverse=True)
        return [(entry, frozenset(vocabulary.exact[entry])) for entry in entries]

    def votes(self, words: Iterable[str]) -> dict[str, int]:
        """How many of the words each language's column knows; decides what stop words leave open."""
        listed = list(words)
        return {
            language: sum(bool(vocabulary.of_word(word)) for word in listed)
            for language, vocabulary in self._vocabularies.items()
            if language not in UNSPACED
        }

    def _of_word(self, word: str, language: str) -> set[str]:
        found: set[str] = set()
        for name in self._spaced(language):
            vocabulary = self._vocabularies[name]
            found |= vocabulary.of_word(word)
            if name in COMPOUNDING and len(word) >= MIN_COMPOUND:
                found |= vocabulary.inside(word)
        return found

    def _of_phrase(self, phrase: str, language: str) -> set[str]:
        found: set[str] = set()
        for name in self._spaced(language):
            found |= self._vocabularies[name].exact.get(phrase, set())
        return found

    def _spaced(self, language: str) -> list[str]:
        """The language, or all that put spaces between words when it is not known."""
        if language in self._vocabularies:
            return [] if language in UNSPACED else [language]
        return [name for name in self._vocabularies if name not in UNSPACED]


def _spelled(entry: str) -> str:
    """An entry as its words are compared: "Wi-Fi*" as "wifi*", "check-in" as "check_in"."""
    parts = [part for piece in entry.rstrip("*").split("_") for part in runs(piece)]
    return "_".join(parts) + ("*" if entry.endswith("*") else "")


@cache
def lexicon() -> Lexicon:
    text = files("gpu_miner.engines.extractive").joinpath("lexicon.tsv").read_text(encoding="utf-8")
    return Lexicon(text.splitlines())
