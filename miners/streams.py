"""Token streams: what a miner writes is logged for fifteen minutes and published at once.

Per job, Redis keeps a small hash (who may append, and where) and a stream (the log). Appending checks the fence and
the offset, logs and publishes in one script, so two miners can never interleave. All of it may vanish: the hash is
rebuilt from PostgreSQL, and the miner then sends its text again from the start.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypedDict
from uuid import UUID

from redis.client import Pipeline
from redis.exceptions import RedisError

from mia.lib.per_loop import PerLoop
from mia.lib.redis import async_redis, sync_redis
from miners.limits import STREAM_KEPT

KEPT_S: Final = int(STREAM_KEPT.total_seconds())
TOPIC_PREFIX: Final = "mia:topic:"
RATE_PREFIX: Final = "mia:rate:"
RATE_KEPT_S: Final = 120
TELL_TOKENS_EVERY_S: Final = 1.0

Event = dict[str, Any]


class EntryKind(StrEnum):
    """What a line of the log says."""

    DELTA = "delta"
    RESET = "reset"


class AppendCode(StrEnum):
    """What became of a piece of text."""

    OK = "ok"
    RANGE = "range"
    LOST = "lost"
    CANCEL = "cancel"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class StreamEntry:
    """One line of a job's log; `offset` counts the answer's characters before `text`."""

    kind: EntryKind
    attempt: int
    offset: int
    text: str

    @property
    def end(self) -> int:
        return self.offset + len(self.text)


@dataclass(frozen=True)
class Append:
    """A piece of text on its way into the log."""

    job_id: UUID
    fence: int
    offset: int
    text: str
    tokens: int


@dataclass(frozen=True)
class Appended:
    """The log's answer: where the next piece has to start."""

    code: AppendCode
    next_offset: int


class Usage(TypedDict):
    """What an answer cost, in tokens."""

    prompt_tokens: int
    completion_tokens: int


# KEYS: hash. ARGV: job, fence, miner, attempt, topic, next, text to go on from, seconds kept.
# `stale` says that readers may have been shown something else than what this attempt goes on from: text that came
# between the fault and its record, or whatever Redis held before it was emptied.
OPEN_SCRIPT: Final = """
local shown = redis.call('HMGET', KEYS[1], 'next', 'reopened')
local stale = '0'
if shown[1] then
  if shown[1] ~= ARGV[6] or shown[2] then stale = '1' end
elseif tonumber(ARGV[4]) > 1 then
  stale = '1'
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'job', ARGV[1], 'fence', ARGV[2], 'miner', ARGV[3], 'attempt', ARGV[4], 'topic', ARGV[5],
  'next', ARGV[6], 'fresh', '1', 'stale', stale, 'resume', stale == '1' and ARGV[7] or '')
redis.call('EXPIRE', KEYS[1], ARGV[8])
"""

# KEYS: hash, stream. ARGV: miner, fence, offset, length, text, seconds kept.
# The first words of an attempt that starts over, or goes on from something else than what was shown, reset the log.
APPEND_SCRIPT: Final = """
local h = redis.call('HMGET', KEYS[1], 'fence', 'miner', 'next', 'over', 'fresh', 'attempt', 'topic', 'job',
  'stale', 'resume')
if not h[1] then return {'unknown', 0} end
if h[4] then return {'cancel', 0} end
if h[1] ~= ARGV[2] or h[2] ~= ARGV[1] then return {'lost', 0} end
local offset, next = tonumber(ARGV[3]), tonumber(h[3])
local topic = 'mia:topic:' .. h[7]
local function log(kind, start, text)
  redis.call('XADD', KEYS[2], '*', 'k', kind, 'a', h[6], 'o', start, 't', text)
  local event = {type = kind, job_id = h[8], attempt = tonumber(h[6])}
  if kind == 'delta' then event.offset, event.text = start, text end
  redis.call('PUBLISH', topic, cjson.encode(event))
end
local starts_over = offset == 0 and next > 0
if h[5] == '1' and (starts_over or (h[9] == '1' and offset == next)) then
  log('reset', 0, '')
  if starts_over then next = 0 elseif h[10] ~= '' then log('delta', 0, h[10]) end
end
if offset ~= next then return {'range', next} end
local length = tonumber(ARGV[4])
if length > 0 then log('delta', offset, ARGV[5]) end
redis.call('HSET', KEYS[1], 'next', next + length, 'fresh', '0')
redis.call('EXPIRE', KEYS[1], ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[6])
return {'ok', next + length}
"""


CLOSE_SCRIPT: Final = "if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'over', '1') end"


def state_key(job_id: UUID | str) -> str:
    return f"mia:job:{{{job_id}}}"


def stream_key(job_id: UUID | str) -> str:
    return f"mia:stream:{{{job_id}}}"


def publish(topic: str, event: Event) -> None:
    """Tells whoever listens; best effort, for events that the database holds anyway."""
    if topic:
        with suppress(RedisError):
            sync_redis().publish(TOPIC_PREFIX + topic, json.dumps(event, default=str))


def send(pipeline: Pipeline, topic: str, event: Event) -> None:
    pipeline.publish(TOPIC_PREFIX + topic, json.dumps(event, default=str))


async def open_streams(offers: Iterable[Mapping[str, Any]]) -> None:
    """Makes each offered job's hash say who may append and from where, and announces the attempt."""
    pipeline = async_redis().pipeline(transaction=False)
    for offer in offers:
        pipeline.eval(OPEN_SCRIPT, 1, state_key(offer["id"]), *_opening_of(offer))
        if offer["topic"]:
            pipeline.publish(TOPIC_PREFIX + offer["topic"], json.dumps(_started_event(offer)))
    await pipeline.execute()


def _opening_of(offer: Mapping[str, Any]) -> list[str | int]:
    text = offer["resume_text"]
    return [
        str(offer["id"]),
        offer["fence"],
        offer["miner_id"],
        offer["attempt_count"],
        offer["topic"],
        len(text),
        text,
        KEPT_S,
    ]


def _started_event(offer: Mapping[str, Any]) -> Event:
    model = offer["served_model"]
    return {"type": "started", "job_id": str(offer["id"]), "attempt": offer["attempt_count"], "model": model}


async def reopen_stream(*, job_id: UUID, fence: int, miner_id: int, attempt: int, topic: str) -> None:
    """Rebuilds a hash that Redis lost; the miner is asked for its text from the start.

    Readers of a first attempt have the beginning of that very text. Those of a later one may have stopped in an
    earlier one, and are reset; who saw this attempt already knows of its reset and drops it.
    """
    is_stale = "1" if attempt > 1 else "0"
    state: dict[str, str | int] = {
        "job": str(job_id),
        "fence": fence,
        "miner": miner_id,
        "attempt": attempt,
        "topic": topic,
        "next": 0,
        "fresh": is_stale,
        "stale": is_stale,
        "resume": "",
        "reopened": "1",
    }
    pipeline = async_redis().pipeline(transaction=True)
    pipeline.hset(state_key(job_id), mapping=state)
    pipeline.delete(stream_key(job_id))
    pipeline.expire(state_key(job_id), KEPT_S)
    await pipeline.execute()


async def append(miner_id: int, pieces: Sequence[Append]) -> list[Appended]:
    """Logs and publishes the pieces in one round trip; raises RedisError."""
    pipeline = async_redis().pipeline(transaction=False)
    for piece in pieces:
        keys = [state_key(piece.job_id), stream_key(piece.job_id)]
        arguments: list[Any] = [miner_id, piece.fence, piece.offset, len(piece.text), piece.text, KEPT_S]
        pipeline.eval(APPEND_SCRIPT, 2, *keys, *arguments)
    replies = await pipeline.execute()
    return [Appended(AppendCode(code), int(next_offset)) for code, next_offset in replies]


class TokenCount:
    """What each miner wrote lately, for the live figures: counted in the process, told to Redis once a second."""

    def __init__(self) -> None:
        self._tokens: Counter[int] = Counter()
        self._telling: asyncio.Task[None] | None = None

    def add(self, miner_id: int, tokens: int) -> None:
        self._tokens[miner_id] += tokens
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell_soon(), name="token-count")

    async def _tell_soon(self) -> None:
        await asyncio.sleep(TELL_TOKENS_EVERY_S)
        counted, self._tokens = self._tokens, Counter()
        key = f"{RATE_PREFIX}{int(time.time())}"
        pipeline = async_redis().pipeline(transaction=False)
        for miner_id, tokens in counted.items():
            pipeline.hincrby(key, str(miner_id), tokens)
        pipeline.expire(key, RATE_KEPT_S)
        with suppress(RedisError):
            await pipeline.execute()


token_count: Final = PerLoop(TokenCount)


def tokens_per_second(now_s: int, window_s: int = 10) -> dict[int, float]:
    """Each miner's mean rate over the last full seconds; raises RedisError."""
    pipeline = sync_redis().pipeline(transaction=False)
    for second in range(now_s - window_s, now_s):
        pipeline.hgetall(f"{RATE_PREFIX}{second}")
    totals: dict[int, float] = {}
    for counts in pipeline.execute():
        for miner_id, tokens in counts.items():
            totals[int(miner_id)] = totals.get(int(miner_id), 0.0) + int(tokens) / window_s
    return totals


def close_stream(pipeline: Pipeline, job_id: UUID) -> None:
    """Takes no more text for a job that is over: the next piece is answered `cancel`, whoever sends it.

    Best effort; PostgreSQL says the same a little later.
    """
    pipeline.eval(CLOSE_SCRIPT, 1, state_key(job_id))


def read_text(job_id: UUID) -> str:
    """What the visitor has been shown of this job so far; '' when Redis does not know."""
    try:
        return text_of_log(sync_redis().xrange(stream_key(job_id)))
    except RedisError:
        return ""


def text_of_log(rows: Any) -> str:
    """The text of a log as XRANGE returns it."""
    return text_of([_entry(fields) for _, fields in rows])


def log_entry(pipeline: Pipeline, job_id: UUID, topic: str, entry: StreamEntry) -> None:
    """Logs and publishes a line that no miner wrote."""
    key = stream_key(job_id)
    event: Event = {"type": str(entry.kind), "job_id": str(job_id), "attempt": entry.attempt}
    if entry.kind == EntryKind.DELTA:
        event |= {"offset": entry.offset, "text": entry.text}
    pipeline.xadd(key, {"k": str(entry.kind), "a": entry.attempt, "o": entry.offset, "t": entry.text})
    pipeline.expire(key, KEPT_S)
    send(pipeline, topic, event)


async def read_stream(job_id: UUID | str) -> list[StreamEntry]:
    """The whole log of a job; [] when it is gone, raises RedisError when Redis is."""
    rows = await async_redis().xrange(stream_key(job_id))
    return [_entry(fields) for _, fields in rows]


def text_of(entries: Iterable[StreamEntry]) -> str:
    """The text that a log amounts to."""
    text = ""
    for entry in entries:
        text = "" if entry.kind == EntryKind.RESET else text[: entry.offset] + entry.text
    return text


@dataclass
class Replay:
    """Where one reader of a job's answer stands, and what it still has to be sent.

    Readers meet the same text twice (from the log and live, or sent again after Redis lost it); each character is
    passed on once. After a reset the answer starts over.
    """

    attempt: int = 0
    position: int = 0

    def take(self, entry: StreamEntry) -> list[StreamEntry]:
        """The entry, trimmed to what is new to the reader; [] when nothing is."""
        if entry.kind == EntryKind.RESET:
            return self._start_over(entry)
        if entry.attempt < self.attempt or entry.end <= self.position:
            return []
        self.attempt = entry.attempt
        text = entry.text[max(self.position - entry.offset, 0) :]
        fresh = StreamEntry(EntryKind.DELTA, entry.attempt, entry.end - len(text), text)
        self.position = entry.end
        return [fresh]

    def take_each(self, entries: Iterable[StreamEntry]) -> list[StreamEntry]:
        """`take` of one entry after the other."""
        return [fresh for entry in entries for fresh in self.take(entry)]

    def has_gap_before(self, entry: StreamEntry) -> bool:
        """Text is missing between what the reader has and this entry: read the log first."""
        return entry.kind == EntryKind.DELTA and entry.offset > self.position

    def take_all(self, entries: Sequence[StreamEntry]) -> list[StreamEntry]:
        """What a reader must be sent to have the whole log: nothing of what a reset undid, then the new deltas."""
        last_reset = max((i for i, entry in enumerate(entries) if entry.kind == EntryKind.RESET), default=None)
        start = 0
        if last_reset is not None:
            start = last_reset if entries[last_reset].attempt > self.attempt and self.position else last_reset + 1
        return self.take_each(entries[start:])

    def _start_over(self, entry: StreamEntry) -> list[StreamEntry]:
        if entry.attempt <= self.attempt:
            return []
        had_text = self.position > 0
        self.attempt, self.position = entry.attempt, 0
        return [entry] if had_text else []


def entry_of_event(event: Event) -> StreamEntry | None:
    """The log line that a published `delta` or `reset` stands for."""
    if event.get("type") == EntryKind.DELTA:
        return StreamEntry(EntryKind.DELTA, event["attempt"], event["offset"], event["text"])
    if event.get("type") == EntryKind.RESET:
        return StreamEntry(EntryKind.RESET, event["attempt"], 0, "")
    return None


def _entry(fields: Mapping[str, str]) -> StreamEntry:
    return StreamEntry(EntryKind(fields["k"]), int(fields["a"]), int(fields["o"]), fields["t"])
