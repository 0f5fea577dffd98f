"""What is told when a job ends: to readers of its answer, and to the miner that works on it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import services
from miners.choices import JobState
from miners.models import Job, Miner
from miners.services import Result, accept_result
from miners.streams import StreamEntry, _entry, read_text, stream_key, text_of
from miners.tests.factories import hold, make_job, make_miner, reload

pytestmark = pytest.mark.django_db(transaction=True)


class Ear:
    """Hears a topic."""

    def __init__(self, client: Any, topic: str) -> None:
        self._pubsub = client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.subscribe(f"mia:topic:{topic}")
        self._pubsub.get_message(timeout=1)

    def hear(self) -> list[dict[str, Any]]:
        heard = []
        while (message := self._pubsub.get_message(timeout=0.2)) is not None:
            heard.append(json.loads(message["data"]))
        return heard

    def close(self) -> None:
        self._pubsub.close()


@pytest.fixture
def held() -> tuple[Job, Miner]:
    miner, _ = make_miner()
    return hold(make_job(topic="test:live"), miner, acked=True), miner


@pytest.fixture
def ear(redis_client: Any) -> Iterator[Ear]:
    ear = Ear(redis_client, "test:live")
    yield ear
    ear.close()


def stream(client: Any, job: Job, *entries: tuple[str, int, int, str]) -> None:
    for kind, attempt, offset, text in entries:
        client.xadd(stream_key(job.pk), {"k": kind, "a": attempt, "o": offset, "t": text})


def finish(held: tuple[Job, Miner], output: str, **fields: Any) -> None:
    job, miner = held
    accept_result(miner=miner, result=Result(job.pk, output, fence=job.fence, **fields), now=timezone.now())


def log(client: Any, job: Job) -> list[StreamEntry]:
    return [
        _entry({key.decode(): value.decode() for key, value in fields.items()})
        for _, fields in client.xrange(stream_key(job.pk))
    ]


def test_what_was_never_streamed_is_shown_with_the_result(held: Any, ear: Ear, redis_client: Any) -> None:
    job = held[0]
    stream(redis_client, job, ("delta", 1, 0, "Ihr Paket "))
    finish(held, "Ihr Paket kommt.")
    rest, done = ear.hear()
    assert rest == {"type": "delta", "job_id": str(job.pk), "attempt": 1, "offset": 10, "text": "kommt."}
    assert (done["type"], done["status"], done["finish_reason"]) == ("done", "completed", "stop")
    assert read_text(job.pk) == "Ihr Paket kommt."


def test_a_result_that_contradicts_the_stream_replaces_it(held: Any, ear: Ear, redis_client: Any) -> None:
    stream(redis_client, held[0], ("delta", 1, 0, "Ihr Pakt"))
    finish(held, "Ihr Paket kommt.")
    assert [event["type"] for event in ear.hear()] == ["reset", "delta", "done"]
    assert text_of(log(redis_client, held[0])) == "Ihr Paket kommt."


def test_a_shorter_result_replaces_the_stream_too(held: Any, redis_client: Any) -> None:
    stream(redis_client, held[0], ("delta", 1, 0, "Ihr Paket kommt. Und"))
    finish(held, "Ihr Paket kommt.")
    assert text_of(log(redis_client, held[0])) == "Ihr Paket kommt."


def test_after_several_attempts_an_empty_log_is_not_trusted(ear: Ear, redis_client: Any) -> None:
    """Redis was emptied: readers may have the words of an earlier attempt."""
    miner, _ = make_miner()
    job = hold(make_job(topic="test:live"), miner)
    with platform_scope():
        Job.objects.filter(pk=job.pk).update(state=JobState.QUEUED, lease_until=None)
    finish((hold(job, miner, acked=True), miner), "All of it.")
    assert [event["type"] for event in ear.hear()] == ["reset", "delta", "done"]


def test_tool_calls_are_told_before_the_end(held: Any, ear: Ear) -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "track", "arguments": "{}"}}]
    finish(held, "", tool_calls=calls, finish_reason="tool_calls")
    told, done = ear.hear()
    assert (told["type"], told["tool_calls"], done["finish_reason"]) == ("tool_call", calls, "tool_calls")


def test_a_job_without_readers_is_told_to_nobody(redis_client: Any) -> None:
    miner, _ = make_miner()
    ear = Ear(redis_client, "")
    finish((hold(make_job(topic=""), miner, acked=True), miner), "Done.")
    assert ear.hear() == []
    ear.close()


def test_a_cancellation_reaches_its_miner_and_its_readers(held: Any, ear: Ear, redis_client: Any) -> None:
    job, miner = held
    wakes = Ear(redis_client, "network:wake")
    assert services.cancel_job(job=job, now=timezone.now())
    assert {"cancel": str(job.pk), "miner": miner.pk} in wakes.hear()
    (done,) = ear.hear()
    assert (done["status"], done["error_code"]) == ("cancelled", "CANCELLED")
    wakes.close()


def test_without_redis_a_job_ends_all_the_same(held: Any, embedded_redis: Any) -> None:
    embedded_redis.crash()
    finish(held, "Done.")
    assert reload(held[0]).output == "Done."
