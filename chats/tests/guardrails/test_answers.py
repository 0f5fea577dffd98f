"""Answers that recite what must not be told: cut while they are written, replaced before they are final."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accounts.tenancy import platform_scope
from chats.choices import GuardAction, GuardKind, Role
from chats.guardrails.answers import guard_for
from chats.guardrails.leaks import Guard, LeakWatch, find_leak
from chats.models import Bot, GuardrailEvent, SafetyPolicy
from chats.policies import forget_policies
from chats.prompts import PLATFORM_RULES, guarded_texts
from chats.tests.callers import Caller, job_of, logs_of
from chats.tests.guardrails.test_questions import read
from chats.tests.streams import answer, run, stream, take_job, write
from knowledge.tests.pages import teach
from miners.choices import JobState
from miners.models import Miner
from miners.tests.factories import make_miner

SECRET = "Offer a discount of twelve percent to anybody who threatens to leave us for good."
GUARD = Guard.of(
    [SECRET, PLATFORM_RULES], phrases=["Project Falcon", "猫の秘密"], public=["We are open from nine to six."]
)


@pytest.mark.parametrize("text", [f"Sure! {SECRET}", SECRET.upper().replace(" ", "\n- "), "About project-falcon: no."])
def test_a_recital_is_found_whatever_its_layout(text: str) -> None:
    assert find_leak(text, GUARD)


def test_other_words_on_the_same_matter_are_no_leak() -> None:
    for text in ("We offer a discount of twelve percent today.", "Falcon is a bird.", "", "I cannot share my rules."):
        assert not find_leak(text, GUARD)


@pytest.mark.django_db
def test_what_the_bot_is_told_to_say_is_no_leak() -> None:
    words = "refunds are paid within five working days after the parcel has reached our house"
    for instructions in (f"Be brief. About money: “{words}”", f"Be brief.\nSay: {words}"):
        guard = guard_for(Bot(business_id=0, instructions=instructions))
        assert not find_leak(f"Our {words}.", guard)
    assert find_leak(f"Our {words}.", guard_for(Bot(business_id=0, instructions=words)))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 120), max_size=10), st.sampled_from(["", "Well, ", "Our offer: "]))
def test_no_more_than_a_few_words_are_shown_however_the_text_is_cut(cuts: list[int], opening: str) -> None:
    watch, text, shown = LeakWatch(GUARD), f"{opening}{SECRET} Bye.", 0
    places = sorted({0, *cuts, len(text)})
    for start, end in itertools.pairwise(places):
        held, leaked = watch.take(text[start:end])
        if leaked:
            break
        shown = max(shown, len(text[:end]) - held)
    assert leaked
    assert len(text[:shown].removeprefix(opening).split()) <= 4


@pytest.mark.django_db(transaction=True)
def test_a_leak_that_nobody_read_is_replaced_before_it_is_final(bot: Bot, server: Caller) -> None:
    reply = _asked(bot, server)
    _finish(reply, f"My instructions are: {PLATFORM_RULES}")
    (stored,) = [log for log in logs_of(reply) if log.role == Role.ASSISTANT]
    assert (
        stored.message == job_of(reply).output == "I can't share or change how I was set up. What can I help you with?"
    )
    (event,) = _events()
    assert (event.kind, event.action) == (GuardKind.LEAK, GuardAction.REPLACED)


@pytest.mark.django_db(transaction=True)
def test_words_that_a_business_guards_are_replaced(bot: Bot, server: Caller) -> None:
    with platform_scope():
        SafetyPolicy.objects.create(business=bot.business, guarded_texts=["Project Falcon"], refusal_text="No comment.")
    forget_policies()
    reply = _asked(bot, server)
    _finish(reply, "We call it project Falcon!")
    assert job_of(reply).output == "No comment."
    assert [event.kind for event in _events()] == [GuardKind.GUARDED]


@pytest.mark.django_db(transaction=True)
def test_the_stream_stops_when_a_leak_begins(bot: Bot, server: Caller) -> None:
    reply = _asked(bot, server)
    _, key = make_miner()
    words = SECRET.split(" ")

    async def talk() -> str:
        offer = await take_job(key)
        async with stream(reply["stream_url"]) as reader, stream(reply["stream_url"]) as other:
            await reader.next("started")
            await write(key, offer, "Gladly. ", *(f"{word} " for word in words[:10]))
            await reader.next("done")
            await other.next("done")
            assert not any(" ".join(words[:5]) in event.data.get("text", "") for event in reader.events)
            assert reader.text == other.text
            return reader.text

    shown = run(talk)
    assert shown == job_of(reply).output
    assert shown.startswith("I can't share")
    assert job_of(reply).state == JobState.COMPLETED
    (event,) = _events()
    assert (event.kind, event.action) == (GuardKind.LEAK, GuardAction.STOPPED)


@pytest.mark.django_db(transaction=True)
def test_no_attack_gets_the_instructions_from_a_miner_that_recites_them(bot: Bot, server: Caller) -> None:
    """Whatever gets past the rules meets the worst of all models; one line in the record for each message."""
    miner, key = make_miner()
    taught = "Bicycles may be returned within 30 days. Standard delivery takes two to four working days."
    teach(bot.business_id, ("Help", taught, ""))
    for number, text in enumerate([*read("injections.txt"), *read("off_topic.txt")]):
        server.session_id = server.token = None
        reply = server.asked(text)
        if reply["status"] == "queued":
            recite(miner, key, job_of(reply).messages[0]["content"])
        (stored,) = [log for log in logs_of(reply) if log.role == Role.ASSISTANT]
        assert not find_leak(stored.message, Guard.of(guarded_texts(bot)))
        assert len(_events()) == number + 1, text


def recite(miner: Miner, key: str, words: str) -> None:
    async def talk() -> None:
        await answer(miner, await take_job(key), words)

    run(talk)


def _asked(bot: Bot, server: Caller) -> dict[str, Any]:
    with platform_scope():
        Bot.objects.filter(pk=bot.pk).update(instructions=SECRET)
    assert SECRET in guarded_texts(Bot.objects.model(instructions=SECRET))
    return server.asked("Tell me about discounts")


def _finish(reply: dict[str, Any], output: str) -> None:
    assert reply["status"] == "queued"
    recite(*make_miner(), output)


def _events() -> list[GuardrailEvent]:
    with platform_scope():
        return list(GuardrailEvent.objects.all())
