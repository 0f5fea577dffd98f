"""Questions that a bot must answer before a change to it is published, and what the change does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from accounts.tenancy import business_scope
from knowledge import answering, configs
from knowledge.answering import Asked, Grounding
from knowledge.choices import Outcome, TestRunStatus, VersionState
from knowledge.models import ModelConfigVersion, Source, TestCase, TestRun, TestSet
from mia.lib.errors import Conflict, InvalidRequest

FAILURES_SHOWN = 10


class CaseResult(TypedDict):
    """What became of one question."""

    case_id: int
    question: str
    passed: bool
    reason: str
    outcome: str
    evidence: float
    found: list[str]


@dataclass(frozen=True)
class Change:
    """A question that fares otherwise under a draft than under what is in use."""

    question: str
    before: str
    after: str
    reason: str

    @property
    def is_worse(self) -> bool:
        return self.after == "failed"


@dataclass(frozen=True)
class Verdict:
    """What publishing came to: in use now, or blocked by what would break."""

    config: ModelConfigVersion
    runs: Sequence[TestRun]
    changes: Sequence[Change] = ()
    is_published: bool = True
    is_overridden: bool = False

    @property
    def complaint(self) -> str:
        """What would break, else what fails already."""
        broken = [f"“{change.question}”: {change.reason}" for change in self.changes if change.is_worse]
        failing = [
            f"“{row['question']}”: {row['reason']}" for made in self.runs for row in made.results if row["reason"]
        ]
        return " ".join((broken or failing)[:FAILURES_SHOWN])


def run(*, test_set: TestSet, config: ModelConfigVersion | None, now: datetime) -> TestRun:
    """Asks every question of a set under a version of the settings, or those in use. Runs in the caller's scope."""
    results = [_result(case, test_set, config) for case in test_set.cases.order_by("pk")]
    passed = sum(result["passed"] for result in results)
    failed = len(results) - passed
    made = TestRun(
        business_id=test_set.business_id,
        test_set=test_set,
        model_config=config,
        status=TestRunStatus.FAILED if failed else TestRunStatus.PASSED,
        passed=passed,
        failed=failed,
        results=results,
        created_at=now,
        finished_at=now,
    )
    made.save(force_insert=True)
    return made


def publish(*, config: ModelConfigVersion, override_reason: str = "", published_by: str = "", now: datetime) -> Verdict:
    """Puts a draft in use once its bot's test sets pass, or in spite of them for a reason that is kept.

    A draft that is blocked keeps its runs and says what would break. Raises Conflict, InvalidRequest.
    """
    if config.state == VersionState.ACTIVE:
        raise Conflict("This version is in use already.")
    with business_scope(config.business_id):
        sets = list(TestSet.objects.for_business(config.business_id).filter(bot_id=config.bot_id))
        before = [run(test_set=test_set, config=_in_use(config), now=now) for test_set in sets]
        runs = [run(test_set=test_set, config=config, now=now) for test_set in sets]
        changes = [change for was, is_now in zip(before, runs, strict=True) for change in diff(was, is_now)]
        failing = [made for made in runs if made.failed]
        if failing and not override_reason.strip():
            return Verdict(config, runs, changes, is_published=False)
        if failing:
            _note_override(failing, override_reason, published_by)
        return Verdict(configs.activate(config, now=now), runs, changes, is_overridden=bool(failing))


def diff(before: TestRun, after: TestRun) -> list[Change]:
    """Questions whose verdict is another now."""
    earlier = {result["case_id"]: result for result in before.results}
    changes = []
    for result in after.results:
        was = earlier.get(result["case_id"])
        if was is not None and was["passed"] != result["passed"]:
            changes.append(Change(result["question"], _word(was), _word(result), result["reason"]))
    return changes


def _word(result: CaseResult) -> str:
    return "passed" if result["passed"] else "failed"


def _in_use(config: ModelConfigVersion) -> ModelConfigVersion | None:
    return configs.active_config(business_id=config.business_id, bot_id=config.bot_id)


def _note_override(failing: Sequence[TestRun], reason: str, by: str) -> None:
    if len(reason.strip()) < 3:
        raise InvalidRequest({"words": ["Say why the change is published although its tests fail."]})
    TestRun.objects.filter(pk__in=[made.pk for made in failing]).update(
        override_reason=reason.strip()[:500], overridden_by_label=by[:255]
    )


def _result(case: TestCase, test_set: TestSet, config: ModelConfigVersion | None) -> CaseResult:
    grounding = answering.ground(
        Asked(
            business_id=test_set.business_id,
            bot_id=test_set.bot_id,
            question=case.question,
            answering=configs.settings_of(config) if config is not None else None,
        )
    )
    reason = "The bot was taught nothing." if grounding is None else _complaint(case, grounding)
    return CaseResult(
        case_id=case.pk,
        question=case.question,
        passed=not reason,
        reason=reason,
        outcome=grounding.outcome if grounding else Outcome.REFUSED,
        evidence=round(grounding.found.evidence, 3) if grounding else 0.0,
        found=[source.title for source in grounding.sources] if grounding else [],
    )


def _complaint(case: TestCase, grounding: Grounding) -> str:
    """'' when the answer is as expected."""
    is_known = bool(grounding.sources)
    if case.expects_refusal:
        return "It should not know this, and found something." if is_known else ""
    if not is_known:
        return f"Nothing was found (evidence {grounding.found.evidence:.2f} of {grounding.found.threshold:.2f})."
    told = " ".join([grounding.direct, *(source.text for source in grounding.sources)])
    if case.expected_phrase and case.expected_phrase.casefold() not in told.casefold():
        return f"What was found does not say “{case.expected_phrase}”."
    if case.expected_url and not any(source.url.startswith(case.expected_url) for source in grounding.sources):
        return f"Nothing was found at {case.expected_url}."
    if case.expected_source_id and not _is_among(case.expected_source_id, grounding):
        return "Nothing was found in the source that it should come from."
    return ""


def _is_among(source_id: object, grounding: Grounding) -> bool:
    chunk_ids = [source.chunk_id for source in grounding.sources]
    return bool(Source.objects.filter(pk=source_id, chunks__in=chunk_ids).exists())
