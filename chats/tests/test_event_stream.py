"""GET /chat/{session_id}/events: what a visitor's stream brings, whatever happens to it on the way."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from chats import handoffs
from chats.choices import Role
from chats.models import Conversation
from chats.tests.callers import Caller, conversation_of, job_of, logs_of
from chats.tests.streams import answer, cancel, in_thread, run, stream, take_job, write
from mia.lib.redis import async_redis
from miners.hub import hub
from miners.models import Job
from miners.streams import publish, stream_key
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db(transaction=True)

ANSWER = ("Ein Reifen ", "kostet 30 ", "Franken 🚲.")
WHOLE = "".join(ANSWER)

ask = in_thread(Caller.asked)


def test_an_answer_arrives_word_by_word_and_ends_with_done(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> Any:
        async with stream(reply["stream_url"]) as reader:
            queued = await reader.next("queued")
            assert queued.data == {"type": "queued", "job_id": reply["job_id"], "position": 1, "eta_ms": 1000}
            offer = await take_job(key)
            await write(key, offer, *ANSWER)
            await answer(miner, offer, WHOLE)
            done = await reader.next("done")
            assert reader.kinds == ["mode", "queued", "started", "delta", "delta", "delta", "done"]
            assert reader.text == WHOLE
            return done.data

    done = run(scenario)
    (kept,) = [log for log in logs_of(reply) if log.role == Role.ASSISTANT]
    assert (done["status"], done["message_id"], done["citations"]) == ("completed", kept.pk, [])
    assert done["usage"] == {"prompt_tokens": 0, "completion_tokens": 7}


def test_the_stream_has_the_headers_that_proxies_and_browsers_need(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"], origin="https://shop.example") as reader:
            await reader.next("queued")
            assert reader.status == 200
            assert reader.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert reader.headers["x-accel-buffering"] == "no"
            assert reader.headers["access-control-allow-origin"] == "https://shop.example"
            assert reader.raw.startswith(b"retry: 2000\n\n")

    run(scenario)


def test_ids_name_the_attempt_and_the_characters_so_far(visitor: Caller) -> None:
    _, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            await write(key, await take_job(key), *ANSWER)
            deltas = [await reader.next("delta") for _ in ANSWER]
            assert [event.id for event in deltas] == ["1.11", "1.21", "1.31"]
            assert [event.data["offset"] for event in deltas] == [0, 11, 21]

    run(scenario)


def test_a_lost_stream_resumes_where_it_was_cut(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            offer = await take_job(key)
            await write(key, offer, *ANSWER[:2])
            await reader.next("delta")
            cut = await reader.next("delta")
        await write(key, offer, ANSWER[2], start=21)
        async with stream(reply["stream_url"], last_event_id=cut.id) as again:
            assert (await again.next("delta")).data["text"] == ANSWER[2]
            await answer(miner, offer, WHOLE)
            await again.next("done")
            assert [event.data["text"] for event in again.events if event.kind == "delta"] == [ANSWER[2]]

    run(scenario)


def test_an_answer_that_ended_while_the_reader_was_away_is_completed(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            offer = await take_job(key)
            await write(key, offer, ANSWER[0])
            cut = await reader.next("delta")
        await answer(miner, offer, WHOLE)
        async with stream(reply["stream_url"], last_event_id=cut.id) as again:
            await again.next("done")
            assert "".join(e.data["text"] for e in again.events if e.kind == "delta") == "".join(ANSWER[1:])

    run(scenario)


def test_an_answer_that_ended_before_the_stream_was_opened_arrives_whole(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        await answer(miner, await take_job(key), WHOLE)
        async with stream(reply["stream_url"]) as reader:
            await reader.next("done")
            assert reader.text == WHOLE

    run(scenario)


def test_a_reader_that_has_everything_is_told_only_that_it_is_over(visitor: Caller) -> None:
    """It may have been cut off between the last words and the end, which have the same place."""
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        await answer(miner, await take_job(key), WHOLE)
        async with stream(reply["stream_url"]) as reader:
            done = await reader.next("done")
        async with stream(reply["stream_url"], last_event_id=done.id) as again:
            await again.next("done")
            await asyncio.sleep(0.2)
            assert again.kinds == ["mode", "done"]

    run(scenario)


def test_a_page_that_is_loaded_again_hears_only_of_the_answer_on_its_way(visitor: Caller) -> None:
    miner, key = make_miner()
    visitor.asked()

    async def scenario() -> None:
        await answer(miner, await take_job(key), WHOLE)
        url = (await in_thread(visitor.post)(visitor.in_session("stream_token"))).json()["stream_url"]
        async with stream(url) as reader:
            await reader.next("mode")
            second = await ask(visitor, "Und ein Schlauch?")
            await write(key, await take_job(key), "Zehn.")
            assert (await reader.next("delta")).data["job_id"] == second["job_id"]
            assert reader.text == "Zehn."

    run(scenario)


def test_the_old_place_does_not_cut_the_next_answer_short(visitor: Caller) -> None:
    """The place of the last answer's end, sent by a browser that reconnects while the next answer is being written."""
    miner, key = make_miner()
    first = visitor.asked()

    async def scenario() -> None:
        async with stream(first["stream_url"]) as reader:
            await answer(miner, await take_job(key), "Ja.")
            done = await reader.next("done")
        await ask(visitor, "Sicher?")
        await write(key, await take_job(key), "Ganz sicher, ja.")
        async with stream(first["stream_url"], last_event_id=done.id) as again:
            await again.next("delta")
            assert again.text == "Ganz sicher, ja."

    run(scenario)


def test_an_attempt_that_starts_over_resets_the_reader(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            offer = await take_job(key)
            await write(key, offer, "Ein Reifen kostet")
            await answer(miner, offer, "Dreissig Franken.")
            await reader.next("reset")
            await reader.next("done")
            assert reader.text == "Dreissig Franken."

    run(scenario)


def test_a_reader_of_a_lost_log_is_given_the_accepted_answer(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            offer = await take_job(key)
            await write(key, offer, *ANSWER[:2])
            await reader.next("delta")
            cut = await reader.next("delta")
        await async_redis().delete(stream_key(reply["job_id"]))
        await answer(miner, offer, WHOLE)
        await async_redis().delete(stream_key(reply["job_id"]))
        async with stream(reply["stream_url"], last_event_id=cut.id) as again:
            await again.next("done")
            assert "".join(e.data["text"] for e in again.events if e.kind == "delta") == ANSWER[2]

    run(scenario)


def test_a_cancelled_answer_ends_as_cancelled(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            await cancel(reply["job_id"])
            done = await reader.next("done")
            assert (done.data["status"], done.data["finish_reason"]) == ("cancelled", "cancelled")

    run(scenario)


def test_a_failed_answer_is_an_apology_and_the_offer_of_a_human(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            await in_thread(expire)(reply["job_id"])
            error = await reader.next("error")
            assert (error.data["error_code"], error.data["offer_human"], error.data["final"]) == ("EXPIRED", True, True)

    run(scenario)
    assert Role.ASSISTANT not in {log.role for log in logs_of(reply)}


def expire(job_id: str) -> None:
    from miners.choices import AttemptOutcome, ErrorCode, JobState
    from miners.results import end_unanswered

    with platform_scope():
        end_unanswered(
            job=Job.objects.get(pk=job_id),
            state=JobState.EXPIRED,
            code=ErrorCode.DEADLINE,
            outcome=AttemptOutcome.DEADLINE,
            now=timezone.now(),
        )


def test_a_visitor_whom_no_miner_can_answer_is_told_once_and_the_job_stays_queued(visitor: Caller) -> None:
    reply = visitor.asked()
    with platform_scope():
        Job.objects.update(created_at=timezone.now() - timedelta(seconds=11))

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            error = await reader.next("error")
            assert (error.data["error_code"], error.data["final"]) == ("NO_CAPACITY", False)
            await asyncio.sleep(2.5)
            assert reader.kinds.count("error") == 1

    run(scenario)
    assert job_of(reply).state == "queued"


def test_the_place_in_the_queue_is_told_again_when_it_changes(visitor: Caller, second_visitor: Caller) -> None:
    first = visitor.asked()
    second = second_visitor.asked()

    async def scenario() -> None:
        async with stream(second["stream_url"]) as reader:
            assert (await reader.next("queued")).data["position"] == 2
            await cancel(first["job_id"])
            assert (await reader.next("queued", timeout_s=5)).data["position"] == 1

    run(scenario)


def test_words_of_an_agent_and_the_change_of_mode_reach_the_visitor(visitor: Caller) -> None:
    reply = visitor.asked()

    def speak() -> None:
        conversation = conversation_of(reply)
        with platform_scope():
            handoffs.take_seat(conversation, socket_id=conversation.public_id, name="Bob", now=timezone.now())
            handoffs.say(conversation, message="Bob hier.", name="Bob", author=None, now=timezone.now())

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            assert (await reader.next("mode")).data["mode"] == "ai"
            await in_thread(speak)()
            assert (await reader.next("mode")).data["mode"] == "human"
            message = (await reader.next("message")).data
            assert (message["role"], message["content"], message["name"]) == ("agent", "Bob hier.", "Bob")

    run(scenario)


def test_no_word_of_the_ai_comes_after_a_person_took_over(visitor: Caller) -> None:
    _, key = make_miner()
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            offer = await take_job(key)
            await write(key, offer, ANSWER[0])
            await reader.next("delta")
            late = {"type": "delta", "job_id": reply["job_id"], "attempt": 1, "offset": len(ANSWER[0]), "text": "late"}
            await in_thread(publish)(f"conversation:{reply['session_id']}", {"type": "mode", "mode": "human"})
            await in_thread(publish)(f"conversation:{reply['session_id']}", late)
            await in_thread(publish)(f"conversation:{reply['session_id']}", {"type": "typing", "role": "agent"})
            await reader.next("typing")
            assert reader.kinds[-2:] == ["mode", "typing"]

    run(scenario)


def test_a_reader_that_comes_back_hears_what_agents_said_meanwhile(visitor: Caller) -> None:
    reply = visitor.asked()
    with platform_scope():
        conversation = Conversation.objects.get()
        handoffs.say(conversation, message="Bob hier.", name="Bob", author=None, now=timezone.now())

    async def scenario() -> None:
        async with stream(reply["stream_url"], last_event_id="0.0") as reader:
            assert (await reader.next("message")).data["content"] == "Bob hier."

    run(scenario)


def test_a_slow_reader_catches_up_from_the_log(visitor: Caller) -> None:
    miner, key = make_miner()
    reply = visitor.asked()
    pieces = [f"Wort {number} " for number in range(200)]

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            offer = await take_job(key)
            await write(key, offer, *pieces[:3])
            await reader.next("delta")
            for inbox in hub()._inboxes[f"conversation:{reply['session_id']}"]:
                for _ in range(100):
                    inbox.put({"type": "typing", "role": "agent"})
            await write(key, offer, *pieces[3:], start=len("".join(pieces[:3])))
            await answer(miner, offer, "".join(pieces))
            await reader.next("done")
            assert reader.text == "".join(pieces)

    run(scenario)


def test_a_stream_that_is_left_lets_go_of_its_subscription(visitor: Caller) -> None:
    reply = visitor.asked()

    async def scenario() -> None:
        async with stream(reply["stream_url"]) as reader:
            await reader.next("queued")
            assert len(hub()._inboxes) == 1
        assert not hub()._inboxes

    run(scenario)
