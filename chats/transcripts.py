"""A conversation as people read it: lines for the admin's page, and plain text to take away."""

from __future__ import annotations

import hashlib
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo
from typing import Any, Final
from uuid import UUID

from chats.choices import Role, Verdict
from chats.masking.mask import restore
from chats.models import ChatLog, Conversation
from knowledge.models import RetrievalLog
from knowledge.receipts import of_conversation as receipts_of
from mia.lib import phrases
from miners.choices import JobState
from miners.models import Job
from miners.streams import read_text

LINES_SHOWN: Final = 300
STATE_TONES: Final = {
    JobState.QUEUED: "warn",
    JobState.OFFERED: "info",
    JobState.RUNNING: "info",
    JobState.COMPLETED: "good",
    JobState.FAILED: "bad",
    JobState.CANCELLED: "",
    JobState.EXPIRED: "bad",
}
HEAVY: Final = ("job__messages", "job__params", "job__tools", "job__tool_calls", "job__output", "job__resume_text")


@dataclass(frozen=True)
class Line:
    """One message, as it is shown; `version` changes when anything about it does."""

    log: ChatLog
    at: datetime
    day: str
    initial: str
    who: str
    job_tone: str
    verdict: str
    verdict_reason: str
    sources: list[tuple[int, str, str]]
    calls: list[str]
    receipt: RetrievalLog | None = None

    @property
    def is_note(self) -> bool:
        return self.log.role == Role.SYSTEM

    @property
    def is_right(self) -> bool:
        return self.log.role in {Role.ASSISTANT, Role.AGENT}

    @property
    def took(self) -> str:
        return phrases.span(self.log.latency_ms) if self.log.latency_ms is not None else ""

    @property
    def version(self) -> str:
        state = self.log.job.state if self.log.job else ""
        return f"{self.log.pk}.{state}.{self.verdict}"


@dataclass(frozen=True)
class Writing:
    """The answer that a miner is writing now, or that waits for one."""

    job: Job
    text: str
    tone: str

    @property
    def version(self) -> str:
        return f"{self.job.pk}.{self.job.state}.{len(self.text)}"


@dataclass(frozen=True)
class Transcript:
    """What the page shows of a conversation."""

    conversation: Conversation
    lines: list[Line]
    writing: Writing | None
    older: int
    time_zone: tzinfo

    @property
    def state_version(self) -> str:
        conversation = self.conversation
        return f"{conversation.mode}.{conversation.status}.{conversation.assignee_id}"

    @property
    def etag(self) -> str:
        versions = [self.state_version, str(self.older), *(line.version for line in self.lines)]
        versions.append(self.writing.version if self.writing else "")
        return f'"{hashlib.sha256("|".join(versions).encode()).hexdigest()[:24]}"'


def read_transcript(conversation: Conversation, *, everything: bool = False) -> Transcript:
    """The newest lines, or all; four queries. `conversation.business` gives the time zone."""
    logs = ChatLog.objects.for_business(conversation.business_id).filter(conversation=conversation)
    total = logs.count()
    shown = logs.select_related("job__miner", "feedback", "author").defer(*HEAVY).order_by("-id")
    newest = list(shown if everything else shown[:LINES_SHOWN])[::-1]
    time_zone = zoneinfo.ZoneInfo(conversation.business.time_zone)
    receipts = receipts_of(business_id=conversation.business_id, conversation_id=conversation.public_id)
    return Transcript(
        conversation,
        _lines(newest, conversation, time_zone, receipts),
        _writing(conversation),
        total - len(newest),
        time_zone,
    )


def as_text(conversation: Conversation, logs: Iterable[ChatLog]) -> str:
    """The conversation for a text editor, in the business's time."""
    time_zone = zoneinfo.ZoneInfo(conversation.business.time_zone)
    head = [
        f"Conversation {conversation.public_id}",
        f"Bot: {conversation.bot}",
        f"Visitor: {' '.join(filter(None, [conversation.visitor_name, conversation.visitor_email])) or 'unknown'}",
        f"Started: {conversation.created_at.astimezone(time_zone):%Y-%m-%d %H:%M} ({conversation.business.time_zone})",
    ]
    said = [f"[{log.timestamp.astimezone(time_zone):%Y-%m-%d %H:%M:%S}] {speaker(log)}: {log.message}" for log in logs]
    return "\n".join([*head, "", *said, ""])


def speaker(log: ChatLog) -> str:
    """Whom to name beside a message."""
    if log.role == Role.AGENT:
        return log.author_name or (str(log.author) if log.author else str(Role.AGENT.label))
    return str(Role(log.role).label)


def _lines(
    logs: Sequence[ChatLog], conversation: Conversation, time_zone: tzinfo, receipts: Mapping[UUID, RetrievalLog]
) -> list[Line]:
    visitor = conversation.visitor_name or conversation.visitor_email
    lines: list[Line] = []
    day = ""
    for log in logs:
        line = _line(log, visitor, time_zone, day)
        if log.role == Role.ASSISTANT and log.job_id is not None:
            line = replace(line, receipt=receipts.get(log.job_id))
        day = line.day or day
        lines.append(line)
    return lines


def _line(log: ChatLog, visitor: str, time_zone: tzinfo, previous_day: str) -> Line:
    at = log.timestamp.astimezone(time_zone)
    day = f"{at:%A} {at.day} {at:%B %Y}"
    who = visitor or speaker(log) if log.role == Role.USER else speaker(log)
    feedback = getattr(log, "feedback", None)
    return Line(
        log=log,
        at=at,
        day="" if day == previous_day else day,
        initial="AI" if log.role == Role.ASSISTANT else who[:1].upper(),
        who=who,
        job_tone=STATE_TONES[JobState(log.job.state)] if log.job else "",
        verdict="" if feedback is None else "up" if feedback.verdict == Verdict.POSITIVE else "down",
        verdict_reason="" if feedback is None else feedback.reason,
        sources=[_source(number, citation) for number, citation in enumerate(log.citations or [], start=1)],
        calls=[_call(call) for call in log.tool_calls or [] if isinstance(call, dict)],
    )


def _source(number: int, citation: Any) -> tuple[int, str, str]:
    """Its number, what it is called, and where it is; only web addresses become links."""
    if not isinstance(citation, dict):
        return number, str(citation), ""
    url = str(citation.get("url") or "")
    address = url if url.startswith(("https://", "http://")) else ""
    index = citation.get("index")
    return index if isinstance(index, int) else number, str(citation.get("title") or url or "source"), address


def _call(call: dict[str, Any]) -> str:
    function = call.get("function") or {}
    return f"{function.get('name', '?')}({function.get('arguments', '')})"


def _writing(conversation: Conversation) -> Writing | None:
    if conversation.last_job_id is None:
        return None
    jobs = Job.objects.filter(pk=conversation.last_job_id, business_id=conversation.business_id)
    job = jobs.live().select_related("miner").only("id", "state", "miner__name", "kind", "created_at").first()
    if job is None:
        return None
    values = dict(conversation.masked_values.known_at(job.created_at).values_list("placeholder", "value"))
    return Writing(job, restore(read_text(job.pk), values), STATE_TONES[JobState(job.state)])
