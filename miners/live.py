"""What happens at once elsewhere when the network's rows change: wake-ups, cancellations, the end of a stream."""

from contextlib import suppress
from typing import Final

from redis.client import Pipeline
from redis.exceptions import RedisError

from mia.lib.redis import sync_redis
from miners import fairness, streams
from miners.choices import JobState
from miners.dispatch import WAKE_TOPIC
from miners.models import Job
from miners.streams import EntryKind, Event, StreamEntry

APOLOGY: Final = "No answer could be produced."


def wake_dispatch() -> None:
    """Tells every web process that the queue has something; call it after the commit."""
    streams.publish(WAKE_TOPIC, {})


def publish_end(job: Job) -> None:
    """Settles its cost, stops whoever still writes, brings every reader to the accepted text, says how it ended.

    Two round trips; best effort, as PostgreSQL holds all of it.
    """
    with suppress(RedisError):
        shown = _close(job)
        pipeline = sync_redis().pipeline(transaction=True)
        if job.state in {JobState.CANCELLED, JobState.EXPIRED}:
            _tell_miner_of_cancellation(pipeline, job)
        if job.topic:
            if job.state == JobState.COMPLETED:
                _complete_stream(pipeline, job, shown)
            streams.send(pipeline, job.topic, end_event(job))
        pipeline.execute()


def _close(job: Job) -> str:
    """The text that its readers were shown so far."""
    pipeline = sync_redis().pipeline(transaction=False)
    fairness.settle(pipeline, job)
    streams.close_stream(pipeline, job.pk)
    pipeline.xrange(streams.stream_key(job.pk))
    return streams.text_of_log(pipeline.execute()[-1])


def _tell_miner_of_cancellation(pipeline: Pipeline, job: Job) -> None:
    """Answers the parked poll of the miner that works on a job that is over; its next chunk hears of it as well."""
    if job.miner_id is not None:
        streams.send(pipeline, WAKE_TOPIC, {"cancel": str(job.pk), "miner": job.miner_id})


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


def _complete_stream(pipeline: Pipeline, job: Job, shown: str) -> None:
    """Logs and publishes what the miner handed in but never streamed; a text that differs replaces what was shown."""
    if job.output != shown:
        # An empty log after several attempts is one that Redis lost: nobody knows what was shown.
        is_longer = job.output.startswith(shown) and (shown != "" or job.attempt_count == 1)
        if not is_longer:
            reset = StreamEntry(EntryKind.RESET, job.attempt_count + 1, 0, "")
            streams.log_entry(pipeline, job.pk, job.topic, reset)
        start = len(shown) if is_longer else 0
        attempt = job.attempt_count + (0 if is_longer else 1)
        rest = StreamEntry(EntryKind.DELTA, attempt, start, job.output[start:])
        streams.log_entry(pipeline, job.pk, job.topic, rest)
    if job.tool_calls:
        event: Event = {"type": "tool_call", "job_id": str(job.pk), "tool_calls": job.tool_calls}
        streams.send(pipeline, job.topic, event)
