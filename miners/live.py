"""What happens at once elsewhere when the network's rows change: wake-ups, cancellations, the end of a stream."""

import json
from typing import Final

from redis.exceptions import RedisError

from mia.lib.redis import sync_redis
from miners import streams
from miners.choices import JobState
from miners.dispatch import WAKE_TOPIC
from miners.models import Job
from miners.streams import EntryKind, Event, StreamEntry

APOLOGY: Final = "No answer could be produced."


def wake_dispatch() -> None:
    """Tells every web process that the queue has something; call it after the commit."""
    streams.publish(WAKE_TOPIC, {})


def tell_miner_of_cancellation(job: Job) -> None:
    """Answers the parked poll of the miner that works on a job that is over; its next chunk hears of it as well."""
    if job.miner_id is not None:
        streams.publish(WAKE_TOPIC, {"cancel": str(job.pk), "miner": job.miner_id})


def publish_end(job: Job) -> None:
    """Stops whoever still writes, brings every reader to the accepted text, then says how the job ended."""
    streams.close_stream(job.pk)
    if job.state in {JobState.CANCELLED, JobState.EXPIRED}:
        tell_miner_of_cancellation(job)
    if not job.topic:
        return
    if job.state == JobState.COMPLETED:
        _complete_stream(job)
    streams.publish(job.topic, end_event(job))


def end_event(job: Job) -> Event:
    """`done`, whatever the ending; `error_code` says why there is no answer."""
    event: Event = {
        "type": "done",
        "job_id": str(job.pk),
        "status": job.state,
        "finish_reason": job.finish_reason,
        "usage": {"prompt_tokens": job.prompt_tokens, "completion_tokens": job.tokens_generated},
    }
    if job.state != JobState.COMPLETED:
        event |= {"error_code": job.error_code, "detail": APOLOGY}
    return event


def _complete_stream(job: Job) -> None:
    """Logs and publishes what the miner handed in but never streamed; a text that differs replaces what was shown."""
    shown = streams.read_text(job.pk)
    if job.output != shown:
        # An empty log after several attempts is one that Redis lost: nobody knows what was shown.
        is_longer = job.output.startswith(shown) and (shown != "" or job.attempt_count == 1)
        if not is_longer:
            _log(job, StreamEntry(EntryKind.RESET, job.attempt_count + 1, 0, ""))
        start = len(shown) if is_longer else 0
        attempt = job.attempt_count + (0 if is_longer else 1)
        _log(job, StreamEntry(EntryKind.DELTA, attempt, start, job.output[start:]))
    if job.tool_calls:
        streams.publish(job.topic, {"type": "tool_call", "job_id": str(job.pk), "tool_calls": job.tool_calls})


def _log(job: Job, entry: StreamEntry) -> None:
    key = streams.stream_key(job.pk)
    event: Event = {"type": str(entry.kind), "job_id": str(job.pk), "attempt": entry.attempt}
    if entry.kind == EntryKind.DELTA:
        event |= {"offset": entry.offset, "text": entry.text}
    try:
        pipeline = sync_redis().pipeline(transaction=True)
        pipeline.xadd(key, {"k": str(entry.kind), "a": entry.attempt, "o": entry.offset, "t": entry.text})
        pipeline.expire(key, streams.KEPT_S)
        pipeline.publish(streams.TOPIC_PREFIX + job.topic, json.dumps(event))
        pipeline.execute()
    except RedisError:
        return
