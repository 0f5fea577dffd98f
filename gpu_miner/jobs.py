"""The jobs this miner holds, from the offer to the delivered result."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from enum import StrEnum
from threading import Condition, Event, Lock, RLock
from time import monotonic

from gpu_miner.answer import Answer
from gpu_miner.engines.base import Delta, EngineJob
from gpu_miner.protocol import Chunk, HeartbeatJob, JsonObject, Offer

logger = logging.getLogger(__name__)

# A job is told its deadline in relative milliseconds; the platform's own clock gets this much to decide first.
DEADLINE_GRACE_S = 5.0
# A poll that is repeated, by us or by a proxy, can bring an offer again after its job is done.
REMEMBERED_OFFERS = 1000


class Phase(StrEnum):
    """Where a job stands on this miner."""

    OFFERED = "offered"
    PREFILL = "prefill"
    DECODE = "decode"
    FINISHED = "finished"


class Ending(StrEnum):
    """Why a job ended without a result."""

    CANCELLED = "cancelled"
    LOST = "lost"
    UNACKNOWLEDGED = "unacknowledged"
    DEADLINE = "deadline"
    STOPPED = "stopped"
    GAVE_WAY = "gave way"


class Job:
    """One job in hand; it is the stream its engine writes to, and what heartbeats and chunks are read from."""

    def __init__(self, offer: Offer, on_first_text: Callable[[], None]) -> None:
        self.offer = offer
        self.answer = Answer()
        self.phase = Phase.OFFERED
        self.ending: Ending | None = None
        self.received_at = monotonic()
        self.started_at: float | None = None
        self.first_text_at: float | None = None
        self.finished_at: float | None = None
        self.ended_at: float | None = None
        self.muted = False
        self._on_first_text = on_first_text
        self._lock = Lock()
        self._acknowledged = Event()
        self._ended = Event()
        self._stops: list[Callable[[], None]] = []
        self._tool_deltas: list[JsonObject] = []

    @property
    def fence(self) -> str:
        return self.offer.fence

    @property
    def job_id(self) -> str:
        return self.offer.job_id

    @property
    def is_idle(self) -> bool:
        """A paid job that nobody waits for: it gives way to customers and to the machine's owner."""
        return self.offer.kind == "idle"

    @property
    def work(self) -> EngineJob:
        offer = self.offer
        return EngineJob(
            job_id=offer.job_id,
            messages=offer.messages,
            kind=offer.kind,
            model=offer.model,
            params=offer.params,
            tools=offer.tools,
            tool_choice=offer.tool_choice,
            resume_text=offer.resume_text,
        )

    @property
    def offer_expired(self) -> bool:
        return self.phase is Phase.OFFERED and monotonic() > self.received_at + self.offer.offer_ms / 1000

    @property
    def past_deadline(self) -> bool:
        return monotonic() > self.received_at + self.offer.deadline_ms / 1000 + DEADLINE_GRACE_S

    # --- the platform's side

    def acknowledge(self) -> None:
        """The platform said `ok`: the job is ours."""
        with self._lock:
            if self.phase is Phase.OFFERED:
                self.phase = Phase.PREFILL
        self._acknowledged.set()

    def wait_for_acknowledgement(self) -> bool:
        """True when the platform said `ok`, false when the job ended first."""
        self._acknowledged.wait()
        return not self.cancelled

    def end(self, ending: Ending) -> None:
        """Stop the engine and forget the job; the first ending counts."""
        with self._lock:
            if self.ending is not None:
                return
            self.ending, self.ended_at = ending, monotonic()
            stops, self._stops = self._stops, []
        logger.info("job %s ended: %s", self.job_id, ending)
        self._ended.set()
        self._acknowledged.set()
        for stop in stops:
            stop()

    def heartbeat(self) -> HeartbeatJob:
        phase = "prefill" if self.phase in (Phase.OFFERED, Phase.PREFILL) else "decode"
        return {"job_id": self.job_id, "fence": self.fence, "phase": phase, "tokens": self.answer.tokens}

    def next_chunk(self, limit: int) -> Chunk | None:
        """What the platform does not have yet; stays pending until `chunk_accepted` or `rewind`."""
        if self.cancelled or self.muted:
            return None
        piece = self.answer.pending(limit)
        with self._lock:
            tool_delta = list(self._tool_deltas)
        if piece is None and not tool_delta:
            return None
        chunk: Chunk = {"job_id": self.job_id, "fence": self.fence, "offset": 0, "text": "", "tokens": 0}
        if piece is None:
            chunk["offset"] = len(self.answer.text)
        else:
            chunk.update({"offset": piece.offset, "text": piece.text, "tokens": piece.tokens})
        if tool_delta:
            chunk["tool_delta"] = tool_delta
        return chunk

    def chunk_accepted(self, chunk: Chunk, next_offset: int | None) -> None:
        self.answer.confirm(chunk["offset"] + len(chunk["text"]) if next_offset is None else next_offset)
        with self._lock:
            del self._tool_deltas[: len(chunk.get("tool_delta", ()))]

    def rewind(self, next_offset: int) -> None:
        """The platform wants the text again from `next_offset`."""
        self.answer.confirm(next_offset)

    # --- the engine's side: engines.base.Stream

    def begin(self, *, continues: bool) -> None:
        self.started_at = self.started_at or monotonic()
        if continues:
            self.answer.begin(self.offer.resume_text)

    def push(self, delta: Delta) -> None:
        if self.cancelled:
            return
        self.answer.append(delta.text, delta.tokens)
        if delta.tool_delta:
            with self._lock:
                self._tool_deltas.extend(delta.tool_delta)
        if self.first_text_at is None and (delta.text or delta.tool_delta):
            self.first_text_at = monotonic()
            self.phase = Phase.DECODE
            self._on_first_text()

    @property
    def cancelled(self) -> bool:
        return self._ended.is_set()

    def on_cancel(self, stop: Callable[[], None]) -> None:
        with self._lock:
            waiting = self.ending is None
            if waiting:
                self._stops.append(stop)
        if not waiting:
            stop()

    def pause(self, seconds: float) -> bool:
        return self._ended.wait(seconds)

    def finish(self) -> None:
        """The engine has returned; nothing is left to stop."""
        with self._lock:
            self._stops = []
            self.phase = Phase.FINISHED
            self.finished_at = monotonic()


class JobTable:
    """All jobs in hand by fence, and the slots their engines hold; shared by every thread."""

    def __init__(self) -> None:
        # Reentrant, because what `wait_until` waits for asks the table.
        self._changed = Condition(RLock())
        self._jobs: dict[str, Job] = {}
        self._holding: dict[str, Job] = {}
        self._taken: deque[str] = deque(maxlen=REMEMBERED_OFFERS)

    def add(self, job: Job) -> bool:
        """False when this very offer was taken before; an older attempt at the same job is given up."""
        with self._changed:
            if job.fence in self._taken:
                return False
            self._taken.append(job.fence)
            older = [other for other in self._jobs.values() if other.job_id == job.job_id]
            self._jobs[job.fence] = self._holding[job.fence] = job
            self._changed.notify_all()
        for other in older:
            other.end(Ending.LOST)
        return True

    def release_slot(self, job: Job) -> None:
        """The engine no longer works for the job, whose result may still be on its way."""
        with self._changed:
            self._holding.pop(job.fence, None)
            self._changed.notify_all()

    def remove(self, job: Job) -> None:
        with self._changed:
            self._jobs.pop(job.fence, None)
            self._changed.notify_all()

    def all(self) -> list[Job]:
        with self._changed:
            return list(self._jobs.values())

    def by_id(self, job_id: str) -> list[Job]:
        return [job for job in self.all() if job.job_id == job_id]

    def holding(self) -> list[Job]:
        """Jobs whose engine has not returned, cancelled ones included."""
        with self._changed:
            return list(self._holding.values())

    def idle_jobs(self) -> list[Job]:
        """Idle jobs that are being written, the youngest first; those that were told to end are none of them."""
        jobs = [job for job in self.holding() if job.is_idle and not job.cancelled]
        return sorted(jobs, key=lambda job: job.received_at, reverse=True)

    @property
    def slots_used(self) -> int:
        with self._changed:
            return len(self._holding)

    @property
    def undelivered(self) -> int:
        with self._changed:
            return sum(job.phase is Phase.FINISHED for job in self._jobs.values())

    @property
    def is_empty(self) -> bool:
        with self._changed:
            return not self._jobs

    def wait_for_change(self, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait(timeout_s)

    def wait_until(self, happened: Callable[[], bool], timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(happened, timeout_s)

    def wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def end_all(jobs: Iterable[Job], ending: Ending) -> None:
    for job in jobs:
        job.end(ending)
