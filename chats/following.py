"""Following a conversation: what one reader, on a stream or a socket, is sent and in which order.

A reader hears the process's one Redis subscription. What it missed (a slow client, a lost connection, a Redis that
was away) it reads again from the answer's log, and what the log lacks from PostgreSQL; each character is sent once,
under its offset in the whole answer. While it waits a reader holds no thread and no connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from django.utils import timezone
from redis.exceptions import RedisError

from chats.admittance import in_thread
from chats.choices import Mode
from chats.events import Event, outgoing
from chats.guardrails.answers import guard_of, stop_leak
from chats.guardrails.leaks import Guard
from chats.masking.screen import Screen
from chats.querysets import TOPIC_NAME
from chats.snapshots import Snapshot, Work, read_human_words, read_snapshot
from chats.tokens import Pass
from chats.waiting import Place, waiting_room
from mia.lib.drain import drain
from mia.lib.errors import NoCapacity, Unavailable, format_timestamp
from miners.choices import JobState
from miners.hub import Inbox, hub
from miners.streams import EntryKind, Replay, StreamEntry, entry_of_event, read_stream

QUEUE_NEWS_S: Final = 2.0
POLL_S: Final = 1.0
IDLE_POLL_S: Final = 10.0
KEEP_ALIVE_S: Final = 15.0
MOST_ANSWERS: Final = 32
JOB_EVENTS: Final = frozenset({"started", "delta", "reset", "tool_call", "done"})
APOLOGY: Final = "Sorry, no answer could be produced. Would you like to talk to a human?"
STRANDED: Final = "No GPU is free for this question at the moment. Would you like to talk to a human?"
FAILURES: Final = {JobState.FAILED: "FAILED", JobState.EXPIRED: "EXPIRED"}


@dataclass(frozen=True, slots=True)
class Position:
    """How far a reader got: `<attempt>.<offset>`."""

    attempt: int
    offset: int

    @classmethod
    def parse(cls, text: str) -> Position | None:
        attempt, dot, offset = text.partition(".")
        if not (dot and _is_count(attempt) and _is_count(offset)):
            return None
        return cls(int(attempt), int(offset))

    def is_beyond(self, work: Work) -> bool:
        """Whether this place cannot be in this job's answer."""
        return self.attempt > work.attempt + 1 or (not work.is_live and self.offset > len(work.output))

    def has_all_of(self, work: Work) -> bool:
        return not work.is_live and self.attempt >= work.attempt and self.offset >= len(work.output)


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 9


@dataclass(frozen=True, slots=True)
class Frame:
    """One event on its way out; `id` is where the reader stands after it, if it is about an answer."""

    event: Event
    id: str = ""


@dataclass(slots=True)
class Answer:
    """What this reader was told of one job."""

    replay: Replay = field(default_factory=Replay)
    screen: Screen | None = None
    started: int = 0
    is_over: bool = False
    is_warned: bool = False
    is_stopped: bool = False
    place: Place | None = None

    @property
    def id(self) -> str:
        return f"{self.replay.attempt}.{self.replay.position}"


class Follower:
    """One reader of one conversation; thousands of them wait at a time, hence the slots."""

    __slots__ = ("_answers", "_conversation_id", "_guard", "_is_behind", "_last_log_id", "_last_seen", "_mode", "shown")

    def __init__(self, shown: Pass, last_seen: Position | None = None) -> None:
        self.shown = shown
        self._last_seen = last_seen
        self._answers: dict[UUID, Answer] = {}
        self._mode = ""
        self._guard: Guard | None = None
        self._conversation_id = 0
        self._last_log_id = 0
        self._is_behind = False

    async def follow(self, first: Snapshot) -> AsyncIterator[list[Frame]]:
        """Frames as they come, [] now and then when there is nothing to say; ends when the process drains.

        `first` is what the caller read when it let the reader in: what happened since is caught up with.
        """
        self._conversation_id, self._last_log_id = first.conversation_id, first.last_log_id
        async with hub().listen(f"{TOPIC_NAME}:{self.shown.conversation_id}") as inbox:
            loop = asyncio.get_running_loop()
            unsubscribe = drain.subscribe(lambda: loop.call_soon_threadsafe(inbox.note_gap))
            try:
                inbox.clear_gap()
                yield await self._safely(self._arrive())
                while not drain.is_draining:
                    event = await inbox.get(self._patience_s())
                    if not drain.is_draining:
                        yield await self._safely(self._hear(event) if event else self._look_again(inbox))
            finally:
                unsubscribe()

    async def _safely(self, frames: Awaitable[list[Frame]]) -> list[Frame]:
        """While PostgreSQL is away a reader stays, and is caught up afterwards."""
        try:
            return await frames
        except Unavailable:
            self._is_behind = True
            return []

    def _patience_s(self) -> float:
        unfinished = self._unfinished().values()
        if self._is_behind or (unfinished and not hub().connected):
            return POLL_S
        if any(not answer.started for answer in unfinished):
            return QUEUE_NEWS_S
        return KEEP_ALIVE_S if hub().connected else IDLE_POLL_S

    def _unfinished(self) -> dict[UUID, Answer]:
        return {job_id: answer for job_id, answer in self._answers.items() if not answer.is_over}

    def _answer(self, job_id: UUID) -> Answer:
        if job_id not in self._answers and len(self._answers) >= MOST_ANSWERS:
            del self._answers[next(iter(self._answers))]
        return self._answers.setdefault(job_id, Answer())

    # --- The first moment

    async def _arrive(self) -> list[Frame]:
        now = await self._read()
        self._guard = await guard_of(now.bot_id, now.bot_changed_at)
        frames = self._mode_news(now)
        if self._last_seen is not None:
            frames += [Frame(event) for event in await read_human_words(self._conversation_id, after=None)]
        frames += await self._earlier_answer(now.work)
        if now.work is not None and (now.work.is_live or self._is_awaited(now.work)):
            frames += await self._catch_up_with(now.work)
        return frames

    async def _earlier_answer(self, last: Work | None) -> list[Frame]:
        """The rest of the answer that the reader came for, where another question was asked meanwhile."""
        earlier = None
        if self.shown.job_id is not None and last is not None and last.job_id != self.shown.job_id:
            earlier = (await self._read(self.shown.job_id)).work
        if earlier is None:
            return self._resume(last)
        if self._last_seen is None:
            return await self._catch_up_with(earlier)
        if self._last_seen.is_beyond(earlier):
            return self._resume(last)
        self._resume(earlier)
        return await self._catch_up_with(earlier)

    def _resume(self, work: Work | None) -> list[Frame]:
        """Takes the reader's own word for where it stands, if it can be true of this job."""
        if work is not None and self._last_seen is not None and not self._last_seen.is_beyond(work):
            self._answer(work.job_id).replay = Replay(self._last_seen.attempt, self._last_seen.offset)
        return []

    def _is_awaited(self, work: Work) -> bool:
        """Whether an answer that is over already is news to this reader: it came for it, or saw it begin.

        Who has every letter may have been cut off just before the end was told, and is told it again.
        """
        if self._last_seen is None:
            return self.shown.job_id == work.job_id
        if self._last_seen.has_all_of(work):
            return self.shown.job_id in {None, work.job_id}
        return not self._last_seen.is_beyond(work)

    # --- Later

    async def _hear(self, event: Event) -> list[Frame]:
        kind, job_id = event.get("type"), event.get("job_id")
        if kind in JOB_EVENTS and isinstance(job_id, str):
            return await self._hear_of_job(str(kind), UUID(job_id), event)
        if kind == "message" and isinstance(job_id, str):
            self._answer(UUID(job_id))
        if kind == "mode":
            self._mode = str(event.get("mode"))
        shown = outgoing(event)
        return [] if shown is None else [Frame(shown)]

    async def _hear_of_job(self, kind: str, job_id: UUID, event: Event) -> list[Frame]:
        answer = self._answer(job_id)
        entry = entry_of_event(event)
        if answer.is_over or kind == "tool_call":  # a call is told with the end, of which it is a part
            return []
        if entry is not None and self._mode == Mode.HUMAN:
            return []  # Late words of an answer that was cancelled when a person took over.
        if kind == "started":
            return _start(answer, job_id, int(event["attempt"]), str(event.get("model") or ""))
        screen = answer.screen = answer.screen or Screen(guard=self._guard)
        if entry is None or screen.has_gap_before(entry) or screen.needs_values(entry):
            return await self._catch_up(job_id)
        frames = _pass_on(job_id, answer.replay.take_each(screen.take(entry)))
        await self._stop_leak(job_id, answer)
        return frames

    async def _stop_leak(self, job_id: UUID, answer: Answer) -> None:
        """Ends an answer that begins to tell what it must not; its readers hear of the end as of any other."""
        if answer.screen is not None and answer.screen.leaked and not answer.is_stopped:
            answer.is_stopped = True
            await in_thread(stop_leak)(job_id=job_id, business_id=self.shown.business_id, now=timezone.now())

    async def _look_again(self, inbox: Inbox) -> list[Frame]:
        """After a gap, or after a while in which nothing came."""
        frames: list[Frame] = []
        if inbox.has_gap or self._is_behind or not hub().connected:
            inbox.clear_gap()
            self._is_behind = False
            frames += await self._catch_up_all()
        for job_id, answer in self._unfinished().items():
            frames += await self._queue_news(job_id, answer)
        return frames

    async def _catch_up_all(self) -> list[Frame]:
        now = await self._read()
        frames = self._mode_news(now)
        if now.last_log_id > self._last_log_id:
            words = await read_human_words(self._conversation_id, after=self._last_log_id)
            frames += [Frame(event) for event in words]
            self._last_log_id = now.last_log_id
        last = now.work.job_id if now.work else None
        if now.work is not None and (now.work.is_live or last in self._unfinished()):
            frames += await self._catch_up_with(now.work)
        for job_id in [job_id for job_id in self._unfinished() if job_id != last]:
            frames += await self._catch_up(job_id)
        return frames

    async def _catch_up(self, job_id: UUID) -> list[Frame]:
        work = (await self._read(job_id)).work
        return [] if work is None else await self._catch_up_with(work)

    async def _catch_up_with(self, work: Work) -> list[Frame]:
        answer = self._answer(work.job_id)
        if answer.is_over:
            return []
        if work.is_waiting and not answer.replay.position:
            return await self._queue_news(work.job_id, answer)
        frames = [] if not work.is_live else _start(answer, work.job_id, work.attempt, work.model)
        frames += await _missing_text(answer, work, self._guard)
        await self._stop_leak(work.job_id, answer)
        if not work.is_live:
            answer.is_over = True
            frames += _ending(answer, work)
        return frames

    async def _queue_news(self, job_id: UUID, answer: Answer) -> list[Frame]:
        """The reader's place in the queue when it changed, and once that nobody is there to answer."""
        if answer.started:
            return []
        place = await waiting_room().place_of(job_id)
        frames = []
        if place is not None and answer.place != place:
            shown = {"type": "queued", "job_id": str(job_id), "position": place.position, "eta_ms": place.eta_ms}
            frames.append(Frame(shown, answer.id))
        if place is not None and place.is_stranded and not answer.is_warned:
            answer.is_warned = True
            frames.append(Frame(_error_event(job_id, NoCapacity.code, STRANDED, final=False)))
        answer.place = place
        return frames

    async def _read(self, job_id: UUID | None = None) -> Snapshot:
        shown = self.shown
        return await read_snapshot(conversation=shown.conversation_id, business_id=shown.business_id, job=job_id)

    def _mode_news(self, now: Snapshot) -> list[Frame]:
        if now.mode == self._mode:
            return []
        self._mode = now.mode
        return [Frame({"type": "mode", "mode": now.mode})]


def _start(answer: Answer, job_id: UUID, attempt: int, model: str) -> list[Frame]:
    if attempt <= answer.started:
        return []
    answer.started, answer.place = attempt, None
    event = {"type": "started", "job_id": str(job_id), "attempt": attempt, "model": model}
    return [Frame(event, f"{max(attempt, answer.replay.attempt)}.{answer.replay.position}")]


def _pass_on(job_id: UUID, entries: list[StreamEntry]) -> list[Frame]:
    return [Frame(_event_of(job_id, entry), f"{entry.attempt}.{entry.end}") for entry in entries]


def _event_of(job_id: UUID, entry: StreamEntry) -> Event:
    event: Event = {"type": entry.kind.value, "job_id": str(job_id), "attempt": entry.attempt}
    if entry.kind == EntryKind.DELTA:
        event |= {"offset": entry.offset, "text": entry.text}
    return event


async def _missing_text(answer: Answer, work: Work, guard: Guard | None) -> list[Frame]:
    """From the log while it is there; for a finished answer, whatever is then still missing from the answer itself."""
    entries: list[StreamEntry] = []
    if work.is_live or answer.replay.position:
        log = await _log_of(work.job_id)
        is_unsure = not log and answer.replay.attempt < work.attempt
        answer.screen = Screen(values=work.masked_values, guard=guard)
        entries += answer.replay.take_all(answer.screen.take_all(log))
        if work.is_answered and is_unsure:
            entries += answer.replay.take(StreamEntry(EntryKind.RESET, work.attempt, 0, ""))
    if work.is_answered:
        entries += _remainder(answer.replay, work)
    return _pass_on(work.job_id, entries)


async def _log_of(job_id: UUID) -> list[StreamEntry]:
    try:
        return await read_stream(job_id)
    except (RedisError, OSError):
        return []


def _remainder(replay: Replay, work: Work) -> list[StreamEntry]:
    """What completes the reader's text; a text that cannot be the beginning of the answer is replaced."""
    attempt = max(work.attempt, replay.attempt, 1)
    entries: list[StreamEntry] = []
    if replay.position > len(work.output):
        attempt += 1
        entries += replay.take(StreamEntry(EntryKind.RESET, attempt, 0, ""))
    rest = work.output[replay.position :]
    if rest:
        entries += replay.take(StreamEntry(EntryKind.DELTA, attempt, replay.position, rest))
    return entries


def _ending(answer: Answer, work: Work) -> list[Frame]:
    if work.state in FAILURES:
        return [Frame(_error_event(work.job_id, FAILURES[JobState(work.state)], APOLOGY, final=True), answer.id)]
    frames = [Frame(_done_event(work), answer.id)]
    if work.tool_calls:
        frames.insert(0, Frame({"type": "tool_call", "job_id": str(work.job_id), "tool_calls": work.tool_calls}))
    return frames


def _done_event(work: Work) -> Event:
    return {
        "type": "done",
        "job_id": str(work.job_id),
        "status": work.state,
        "finish_reason": work.finish_reason or work.state,
        "usage": {"prompt_tokens": work.prompt_tokens, "completion_tokens": work.tokens_generated},
        "citations": work.citations,
        "message_id": work.message_id,
    }


def _error_event(job_id: UUID, code: str, detail: str, *, final: bool) -> dict[str, Any]:
    """`final` says that no answer will come any more."""
    return {
        "type": "error",
        "job_id": str(job_id),
        "detail": detail,
        "error_code": code,
        "timestamp": format_timestamp(timezone.now()),
        "offer_human": True,
        "final": final,
    }
