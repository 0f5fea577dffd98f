"""Finding the evidence that a business's answers need: enough to refuse what its pages do not say, and no more.

Questions that the pages answer and questions that they do not are divided in two halves. The threshold comes from one,
and is judged on the other, which it has not seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

from knowledge.models import CuratedAnswer, EmbeddingVersion, TestCase
from knowledge.retrieval import retrieve
from knowledge.snapshot import Snapshot, forget
from mia.lib.errors import InvalidRequest

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


def off_topic(languages: Iterable[str]) -> list[tuple[str, str]]:
    """Language and question: what no business's help pages answer, for where a business wrote no such questions."""
    lines = (Path(__file__).parent / "off_topic.tsv").read_text(encoding="utf-8").splitlines()
    pairs = [(language, question) for language, _, question in (line.partition("\t") for line in lines) if question]
    wanted = set(languages)
    return [pair for pair in pairs if pair[0] in wanted]


def examples_of(*, snapshot: Snapshot, more: Sequence[Example] = ()) -> list[Example]:
    """The business's test questions and curated wordings, and questions about other things in its languages.

    Runs in the caller's scope.
    """
    cases = TestCase.objects.for_business(snapshot.business_id).filter(test_set__bot_id=snapshot.bot_id)
    examples = [Example(case.question, not case.expects_refusal) for case in cases]
    for answer in CuratedAnswer.objects.for_business(snapshot.business_id):
        examples += [Example(wording, True) for wording in (answer.question, *answer.other_wordings)]
    languages = {language for language in snapshot.languages if language} or {"en"}
    examples += [Example(question, False) for _, question in off_topic(languages)]
    return list({example.question: example for example in [*examples, *more]}.values())


def calibrate(*, snapshot: Snapshot, more: Sequence[Example] = (), now: datetime) -> Calibration:
    """Finds and stores the threshold of the version that is searched. Raises InvalidRequest with too few examples."""
    examples = examples_of(snapshot=snapshot, more=more)
    answerable = sum(example.is_answerable for example in examples)
    if min(answerable, len(examples) - answerable) < FEWEST_EXAMPLES:
        raise InvalidRequest(
            f"Calibration needs at least {FEWEST_EXAMPLES} questions that the pages answer and as many they do not: "
            f"there are {answerable} and {len(examples) - answerable}. Add some to a test set of the bot."
        )
    found = calibrate_on(snapshot=snapshot, examples=examples)
    versions = EmbeddingVersion.objects.for_business(snapshot.business_id).filter(pk=snapshot.version_id)
    versions.update(threshold=found.threshold, calibrated_at=now)
    forget(snapshot.business_id)
    return found


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
