"""How nearly the heading of a chunk says what was asked: what stands under the very words is most often the answer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Final

from knowledge.citations import stems
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
    stems: frozenset[str]
    names: tuple[str, ...]

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
        held = len(self.stems & stems(" ".join(path)))
        return max(held / len(self.stems) * sqrt(met / len(told)), self._same_question(nearest))

    def _names(self, title: str) -> bool:
        """Whether the question speaks of the whole document by its title."""
        told = stems(TAIL.sub("", title))
        return bool(told) and told <= self.stems

    def _same_question(self, nearest: str) -> float:
        """The share of a heading's question that this one holds, common words included."""
        told = frozenset(words_of(nearest)) if nearest.endswith(("?", "？")) else frozenset()
        return len(told & self.words) / len(told) if told else 0.0


def asked(question: str) -> Asked:
    return Asked(frozenset(words_of(question)), stems(question), tuple(NAME.findall(question)))


def agreements(question: str, headings: Sequence[str]) -> list[float]:
    known = asked(question)
    return [known.agreement(heading) for heading in headings]
