"""What the page of one job shows: its life as a timeline, every attempt, what was asked and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.utils.translation import gettext as _

from mia.lib import phrases
from miners.admin_miner_page import AttemptLine
from miners.choices import AttemptOutcome, JobState, Trust
from miners.models import Job

STATE_TONES: Final = {
    JobState.QUEUED: "warn",
    JobState.OFFERED: "info",
    JobState.RUNNING: "info",
    JobState.COMPLETED: "good",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "",
    JobState.EXPIRED: "bad",
}


@dataclass(frozen=True)
class Moment:
    """A point of the timeline; `after` is how long after the job was submitted."""

    at: datetime
    after: str
    what: str
    why: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Bubble:
    """A message of the prompt."""

    role: str
    text: str
    calls: list[str]

    @property
    def is_answer(self) -> bool:
        return self.role == "assistant"

    @property
    def words(self) -> int:
        return len(self.text.split())


@dataclass(frozen=True)
class JobPage:
    """Everything on the page."""

    tone: str
    waited: str
    first_token: str
    took: str
    pace: str
    timeline: list[Moment]
    attempts: list[AttemptLine]
    prompt: list[Bubble]
    answer_calls: list[str]
    model: str
    model_digest: str
    demands: list[tuple[str, str]]


def job_page(job: Job, *, with_reasons: bool) -> JobPage:
    """One query: the attempts. Reasons are what miners' programs said, and are for platform staff."""
    rows = job.attempts.select_related("miner").order_by("fence")
    attempts = [AttemptLine.of(attempt, with_reason=with_reasons) for attempt in rows]
    accepted = next((line.attempt for line in attempts if line.attempt.outcome == AttemptOutcome.ACCEPTED), None)
    return JobPage(
        tone=STATE_TONES[JobState(job.state)],
        waited=_after(job, job.offered_at if job.attempt_count == 1 else _first_offer(attempts)),
        first_token=_after(job, job.first_token_at),
        took=_after(job, job.finished_at),
        pace=_pace(job),
        timeline=sorted(_moments(job, attempts, with_reasons), key=lambda moment: moment.at),
        attempts=attempts,
        prompt=[_bubble(message) for message in job.messages if isinstance(message, dict)],
        answer_calls=_calls(job.tool_calls),
        model=accepted.model if accepted else "",
        model_digest=accepted.model_digest if accepted else "",
        demands=list(_demands(job)),
    )


def _first_offer(attempts: list[AttemptLine]) -> datetime | None:
    return attempts[0].attempt.offered_at if attempts else None


def _after(job: Job, moment: datetime | None) -> str:
    return phrases.NOTHING if moment is None else phrases.span(moment - job.created_at)


def _pace(job: Job) -> str:
    if not job.first_token_at or not job.finished_at or job.tokens_generated < 2:
        return phrases.NOTHING
    seconds = (job.finished_at - job.first_token_at).total_seconds()
    return phrases.count(round((job.tokens_generated - 1) / seconds, 1)) if seconds > 0.01 else phrases.NOTHING


def _moments(job: Job, attempts: list[AttemptLine], with_reasons: bool) -> Iterator[Moment]:
    def moment(at: datetime, what: str, why: str = "", tone: str = "") -> Moment:
        return Moment(at, _after(job, at), what, why, tone)

    yield moment(job.created_at, _("Submitted to the %s lane") % job.get_lane_display())
    for line in attempts:
        attempt, number = line.attempt, line.attempt.number
        yield moment(attempt.offered_at, _("Attempt %d offered") % number)
        if attempt.acked_at and attempt.acked_at > attempt.offered_at:
            yield moment(attempt.acked_at, _("Attempt %d taken") % number)
        if attempt.ended_at and attempt.outcome != AttemptOutcome.ACCEPTED:
            yield moment(
                attempt.ended_at, f"{_('Attempt %d') % number}: {attempt.get_outcome_display()}", line.reason, line.tone
            )
    if job.first_token_at:
        yield moment(job.first_token_at, _("First words"))
    if job.finished_at:
        yield moment(
            job.finished_at,
            str(job.get_state_display()).capitalize(),
            _ending(job, with_reasons),
            STATE_TONES[JobState(job.state)],
        )


def _ending(job: Job, with_reason: bool) -> str:
    if job.state == JobState.COMPLETED:
        return _("finish reason: %s") % job.finish_reason if job.finish_reason else ""
    code = str(job.get_error_code_display())
    return f"{code}: {job.error_message}" if job.error_message and with_reason else code


def _bubble(message: dict[str, Any]) -> Bubble:
    content = message.get("content")
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False) if content else ""
    return Bubble(role=str(message.get("role", "")), text=text, calls=_calls(message.get("tool_calls")))


def _calls(tool_calls: Any) -> list[str]:
    """Calls of functions as a person writes them: name(arguments)."""
    functions = [call.get("function", {}) for call in tool_calls or [] if isinstance(call, dict)]
    return [f"{function.get('name', '?')}({function.get('arguments', '')})" for function in functions]


def _demands(job: Job) -> Iterator[tuple[str, str]]:
    yield _("model"), job.model or _("any")
    yield _("least trust"), Trust(job.min_trust).label
    yield _("context"), _("about %s tokens") % phrases.count(job.context_tokens)
    yield _("longest answer"), _("%s tokens") % phrases.count(job.max_tokens)
    yield _("deadline"), phrases.span(job.deadline - job.created_at)
    for name, value in job.params.items():
        if name != "max_tokens" and value not in (None, [], ""):
            yield str(name).replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    if job.features:
        yield _("features"), ", ".join(job.features)
    if job.tools:
        names = [tool.get("function", {}).get("name", "?") for tool in job.tools if isinstance(tool, dict)]
        yield _("tools"), ", ".join(names)
