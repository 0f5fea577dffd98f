"""Finding the evidence that a business's answers need: enough to refuse what its pages do not say, and no more.

Questions that the pages answer and questions that they do not are divided in two halves. The threshold comes from one,
and is judged on the other, which it has not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from knowledge.retrieval import retrieve
from knowledge.snapshot import Snapshot

REFUSED_AT_LEAST: Final = 0.90
REFUSED_FALSELY_AT_MOST: Final = 0.05
FEWEST_EXAMPLES: Final = 8


@dataclass(frozen=True)
class Example:
    """A question, and whether the pages hold its answer."""

    question: str
    is_answerable: bool


@dataclass(frozen=True)
class Calibration:
    """A threshold with what it does to questions that it was not made from."""

    threshold: float
    refused: float
    refused_falsely: float
    precision: float
    unanswerable: int
    answerable: int

    @property
    def is_good(self) -> bool:
        return self.refused >= REFUSED_AT_LEAST and self.refused_falsely <= REFUSED_FALSELY_AT_MOST

    def __str__(self) -> str:
        return (
            f"threshold {self.threshold:.3f}: refuses {self.refused:.1%} of {self.unanswerable} unanswerable questions "
            f"and {self.refused_falsely:.1%} of {self.answerable} answerable ones; "
            f"{self.precision:.1%} of its refusals are right"
        )


@dataclass(frozen=True)
class Judged:
    """The evidence that was found for an example."""

    evidence: float
    is_answerable: bool


def calibrate_on(*, snapshot: Snapshot, examples: Sequence[Example]) -> Calibration:
    """Every other example of each kind is held out. Runs in the caller's scope."""
    halves: tuple[list[Judged], list[Judged]] = ([], [])
    for kind in (True, False):
        alike = [example for example in examples if example.is_answerable is kind]
        for number, example in enumerate(alike):
            found = retrieve(snapshot=snapshot, query=example.question)
            halves[number % 2].append(Judged(found.evidence, kind))
    fitted, held_out = halves
    return judge(best_threshold(fitted), held_out)


def best_threshold(examples: Sequence[Judged]) -> float:
    """Midway between two neighbours, where refusing both what should be refused and nothing else goes best."""
    levels = sorted({example.evidence for example in examples})
    cuts = [(low + high) / 2 for low, high in pairwise(levels)] or [0.5]
    return max(cuts, key=lambda cut: (_merit(judge(cut, examples)), cut))


def judge(threshold: float, examples: Sequence[Judged]) -> Calibration:
    unanswerable = [example for example in examples if not example.is_answerable]
    answerable = [example for example in examples if example.is_answerable]
    refused = sum(example.evidence < threshold for example in unanswerable)
    falsely = sum(example.evidence < threshold for example in answerable)
    return Calibration(
        threshold=threshold,
        refused=refused / max(len(unanswerable), 1),
        refused_falsely=falsely / max(len(answerable), 1),
        precision=refused / max(refused + falsely, 1),
        unanswerable=len(unanswerable),
        answerable=len(answerable),
    )


def _merit(calibration: Calibration) -> float:
    """A false refusal loses a customer who could have been helped, so it weighs twice."""
    return calibration.refused - 2 * calibration.refused_falsely
