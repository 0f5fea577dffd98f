"""Whether a bot still answers its test questions after a change to what its model is told: asked of the network.

How a bot asks is known above, so asking is given from there: by the bot as it is, and as it would be.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from knowledge.choices import Outcome, TestRunStatus
from knowledge.models import TestCase, TestRun, TestSet
from knowledge.test_sets import FAILURES_SHOWN, CaseResult, Change

MOST_CASES: Final = 50
ANSWER_SHOWN: Final = 160


@dataclass(frozen=True)
class Said:
    """What a bot says to a question; `is_refusal` where it says that it does not know, without asking a model."""

    text: str
    urls: Sequence[str] = ()
    is_cited: bool = False
    is_refusal: bool = False


Ask = Callable[[Sequence[str]], Sequence[Said | None]]
"""Answers in the order of the questions; None for one that nobody answered in time."""


@dataclass(frozen=True)
class PromptVerdict:
    """The questions that fail under the change, and how each fared before it."""

    changes: Sequence[Change] = ()
    runs: Sequence[TestRun] = ()

    @property
    def passes(self) -> bool:
        return not self.changes

    @property
    def complaints(self) -> list[str]:
        return [
            f"“{change.question}” {change.before} before, {change.after} now: {change.reason}"
            for change in self.changes[:FAILURES_SHOWN]
        ]


def count_cases(*, business_id: int, bot_id: int) -> int:
    return int(TestCase.objects.for_business(business_id).filter(test_set__bot_id=bot_id).count())


def judge(*, business_id: int, bot_id: int, before: Ask, after: Ask, now: datetime) -> PromptVerdict:
    """Asks every test question of the bot as it would be, and those that fail of the bot as it is; keeps the runs."""
    sets = list(TestSet.objects.for_business(business_id).filter(bot_id=bot_id).order_by("pk"))
    cases = list(TestCase.objects.for_business(business_id).filter(test_set__in=sets).order_by("pk")[:MOST_CASES])
    if not cases:
        return PromptVerdict()
    said = after([case.question for case in cases])
    results = [_result(case, one) for case, one in zip(cases, said, strict=True)]
    failing = [(case, result) for case, result in zip(cases, results, strict=True) if not result["passed"]]
    earlier = before([case.question for case, _ in failing]) if failing else []
    changes = [
        Change(case.question, "failed" if _complaint(case, was) else "passed", "failed", result["reason"])
        for (case, result), was in zip(failing, earlier, strict=True)
    ]
    return PromptVerdict(changes, [_keep(one, cases, results, now) for one in sets])


def note_override(verdict: PromptVerdict, *, reason: str, by: str) -> None:
    runs = TestRun.objects.filter(pk__in=[made.pk for made in verdict.runs if made.failed])
    runs.update(override_reason=reason[:500], overridden_by_label=by[:255])


def _keep(test_set: TestSet, cases: Sequence[TestCase], results: Sequence[CaseResult], now: datetime) -> TestRun:
    own = [result for case, result in zip(cases, results, strict=True) if case.test_set_id == test_set.pk]
    passed = sum(result["passed"] for result in own)
    made = TestRun(
        business_id=test_set.business_id,
        test_set=test_set,
        status=TestRunStatus.FAILED if passed < len(own) else TestRunStatus.PASSED,
        passed=passed,
        failed=len(own) - passed,
        results=own,
        created_at=now,
        finished_at=now,
    )
    made.save(force_insert=True)
    return made


def _result(case: TestCase, said: Said | None) -> CaseResult:
    reason = _complaint(case, said)
    return CaseResult(
        case_id=case.pk,
        question=case.question,
        passed=not reason,
        reason=reason,
        outcome=Outcome.REFUSED if said is not None and said.is_refusal else Outcome.ANSWERED,
        evidence=0.0,
        found=list(said.urls) if said is not None else [],
    )


def _complaint(case: TestCase, said: Said | None) -> str:
    """'' when the answer is as expected. What a model says without a source counts as not knowing."""
    if said is None:
        return "Nobody on the network answered it in time."
    if case.expects_refusal:
        return f"It should not know this, and says “{_short(said.text)}”." if said.is_cited else ""
    if case.expected_phrase and case.expected_phrase.casefold() not in said.text.casefold():
        return f"The answer does not say “{case.expected_phrase}”, but “{_short(said.text)}”."
    if case.expected_url and not any(url.startswith(case.expected_url) for url in said.urls):
        return f"The answer does not cite {case.expected_url}."
    return "It says that it does not know." if said.is_refusal else ""


def _short(text: str) -> str:
    return text if len(text) <= ANSWER_SHOWN else f"{text[:ANSWER_SHOWN]}…"
