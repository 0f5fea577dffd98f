"""Streaming the words: one request per flush with the new text of every job, the first words at once."""

import logging
from threading import Lock

from gpu_miner.errors import PlatformError, Refused, Rejected
from gpu_miner.heartbeat import apply_verdict
from gpu_miner.jobs import Job
from gpu_miner.miner import Miner
from gpu_miner.protocol import Chunk, Verdict

logger = logging.getLogger(__name__)

# Four bytes a character at worst: one request stays well under the platform's limit of 1 MiB.
MAX_REQUEST_CHARS = 160_000
MAX_CHUNK_CHARS = 16_000
# Rewound or cut text goes on at once, but a platform that rewinds for ever must not become a busy loop.
MAX_ROUNDS = 8
IDLE_WAIT_S = 5.0
RETRY_FIRST_S = 0.25
RETRY_CAP_S = 5.0


class Delivery:
    """Sends chunks; `flush` may be called from any thread."""

    def __init__(self, miner: Miner) -> None:
        self._miner = miner
        self._lock = Lock()
        self._failures = 0

    def run(self) -> None:
        while not self._miner.stopping.is_set():
            self._miner.flush_due.wait(self._pause_s())
            self._miner.flush_due.clear()
            self.flush()

    def flush(self, patience_s: float = -1) -> None:
        """Send what is unsent; waits for a flush that is under way, at most `patience_s` when not negative."""
        if not self._lock.acquire(timeout=patience_s):
            return
        try:
            for _ in range(MAX_ROUNDS):
                if not self._send_round():
                    return
        finally:
            self._lock.release()

    def _pause_s(self) -> float:
        if self._failures:
            return min(RETRY_CAP_S, RETRY_FIRST_S * 2.0 ** (self._failures - 1))
        return self._miner.config.flush_ms / 1000 if not self._miner.jobs.is_empty else IDLE_WAIT_S

    def _send_round(self) -> bool:
        """Send one request; true when there is more that should go at once."""
        chunks = self._pending_chunks()
        if not chunks:
            return False
        try:
            return self._send(chunks)
        except Refused as error:
            self._miner.fail(error)
        except PlatformError as error:
            self._failures += 1
            logger.log(logging.WARNING if self._failures == 1 else logging.DEBUG, "words not delivered: %s", error)
        return False

    def _pending_chunks(self) -> list[tuple[Job, Chunk]]:
        left = MAX_REQUEST_CHARS
        chunks = []
        for job in self._miner.jobs.all():
            chunk = job.next_chunk(min(left, MAX_CHUNK_CHARS)) if left > 0 else None
            if chunk is not None:
                left -= len(chunk["text"])
                chunks.append((job, chunk))
        return chunks

    def _send(self, chunks: list[tuple[Job, Chunk]]) -> bool:
        try:
            reply = self._miner.client.chunks([chunk for _, chunk in chunks])
        except Rejected as error:
            return self._send_apart(chunks, error)
        self._failures = 0
        self._miner.adopt_flush(reply.flush_ms)
        verdicts = {verdict.job_id: verdict for verdict in reply.verdicts}
        heard = [_settle(job, chunk, verdicts.get(job.job_id)) for job, chunk in chunks]
        return any(heard)

    def _send_apart(self, chunks: list[tuple[Job, Chunk]], error: Rejected) -> bool:
        """One chunk the platform will never take must not silence the other jobs; its own goes silent."""
        if len(chunks) > 1:
            more = [self._send([pair]) for pair in chunks]
            return any(more)
        job = chunks[0][0]
        job.muted = True
        logger.error("job %s streams no more, its chunk was rejected: %s", job.job_id, error)
        return False


def _settle(job: Job, chunk: Chunk, verdict: Verdict | None) -> bool:
    """Note what became of one chunk; true when more of the job should go at once."""
    if verdict is None:
        return False
    if verdict.verdict == "ok":
        job.chunk_accepted(chunk, verdict.next_offset)
        return len(chunk["text"]) >= MAX_CHUNK_CHARS
    if verdict.verdict == "range" and verdict.next_offset is not None:
        job.rewind(verdict.next_offset)
        return verdict.next_offset != chunk["offset"]
    job.muted = True
    apply_verdict(job, verdict)
    return False
