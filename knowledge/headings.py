"""How nearly the heading of a chunk says what was asked: what stands under the very words is most often the answer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from knowledge.citations import STEM_CHARS, stems
from knowledge.embeddings.hashed import words_of
from knowledge.limits import SEPARATOR

NAME: Final = re.compile(r"[^\W\d]\w*(?:\.\w+)+")
TAIL: Final = re.compile(r"(?<=\w)(?:\s?\(| [—–-] ).*")
"""What a function takes, or what a title says after its dash."""


TITLE_SHARE: Final = 0.5


@dataclass(frozen=True)
class Asked:
    """A question as headings are compared with it."""

    words: frozenset[str]
    weights: Mapping[str, float]
    names: tuple[str, ...]

    @property
    def stems(self) -> frozenset[str]:
        return frozenset(self.weights)

    def agreement(self, heading: str) -> float:
        """From 0 to 1: how much of the question the headings hold, and how little else the nearest one says."""
        path = heading.split(SEPARATOR)
        nearest = TAIL.sub("", path[-1])
        if any(nearest.endswith(name) for name in self.names):
            return 1.0
        told = stems(nearest)
        met = len(told & self.stems)
        if not met:
            return TITLE_SHARE if self._names(path[0]) else 0.0
        held = sum(self.weights[stem] for stem in self.stems & stems(" ".join(path)))
        share = held / sum(self.weights.values())
        return max(share * sqrt(met / len(told)), self._same_question(nearest))

    def _names(self, title: str) -> bool:
        """Whether the question speaks of the whole document by its title."""
        told = stems(TAIL.sub("", title))
        return bool(told) and told <= self.stems

    def _same_question(self, nearest: str) -> float:
        """The share of a heading's question that this one holds, common words included."""
        told = frozenset(words_of(nearest)) if nearest.endswith(("?", "？")) else frozenset()
        return len(told & self.words) / len(told) if told else 0.0


def asked(question: str, rarities: Mapping[str, float]) -> Asked:
    """`rarities` are of the question's words as full-text search has them: what is in every page tells nothing."""
    known = {word[:STEM_CHARS]: rarity for word, rarity in rarities.items()}
    usual = max(known.values(), default=1.0)
    weights = {stem: known.get(stem[:STEM_CHARS], usual) for stem in stems(question)}
    return Asked(frozenset(words_of(question)), weights, tuple(NAME.findall(question)))


def agreements(question: str, headings: Sequence[str], rarities: Mapping[str, float]) -> list[float]:
    known = asked(question, rarities)
    return [known.agreement(heading) for heading in headings]
