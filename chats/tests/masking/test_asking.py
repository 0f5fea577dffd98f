"""A visitor's data on its way to a miner and back."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from accounts.tenancy import platform_scope
from chats.choices import PersonalDataTrust, Role
from chats.models import Bot, MaskedValue, SafetyPolicy
from chats.policies import forget_policies
from chats.tests.callers import Caller, conversation_of, job_of, logs_of
from chats.tests.streams import answer, run, stream, take_job, write
from miners.tests.factories import make_miner

pytestmark = pytest.mark.django_db
MAIL = "ana@example.org"


def words_for_miner(reply: dict[str, Any]) -> str:
    return json.dumps(job_of(reply).messages)


def test_a_miner_reads_placeholders_and_the_next_question_uses_the_same(server: Caller) -> None:
    first = server.asked(f"I am {MAIL}, my card is 4111 1111 1111 1111", context="Customer phone +41 44 668 18 00")
    second = server.asked(f"Did you note {MAIL}?")
    assert "<EMAIL_1>" in words_for_miner(first)
    assert "<PHONE_1>" in words_for_miner(first)
    for reply in (first, second):
        assert not any(value in words_for_miner(reply) for value in (MAIL, "4111 1111", "668 18 00"))
    assert job_of(second).messages[-1]["content"] == "Did you note <EMAIL_1>?"
    assert logs_of(second)[0].message.startswith(f"I am {MAIL}"), "the business keeps what was said"


def test_who_is_trusted_with_personal_data_reads_it(bot: Bot, server: Caller) -> None:
    with platform_scope():
        policy = SafetyPolicy.objects.create(
            business=bot.business, names=["Urs Frei"], personal_data_trust=PersonalDataTrust.VERIFIED
        )
    assert MAIL in words_for_miner(server.asked(f"I am {MAIL}"))
    with platform_scope():
        SafetyPolicy.objects.filter(pk=policy.pk).update(personal_data_trust=PersonalDataTrust.NOBODY)
    forget_policies()
    words = words_for_miner(server.asked(f"I am {MAIL}, ask urs frei"))
    assert MAIL not in words
    assert "<NAME_1>" in words


def test_the_visitors_own_name_is_hidden_once_it_is_known(server: Caller) -> None:
    reply = server.asked("Hello")
    with platform_scope():
        conversation = conversation_of(reply)
        conversation.visitor_name = "Ana Lima"
        conversation.save()
    assert "Lima" not in words_for_miner(server.asked("Did Ms Lima's parcel leave?"))


@pytest.mark.django_db(transaction=True)
def test_an_answer_is_restored_for_readers_in_the_record_and_in_calls(server: Caller) -> None:
    """Read live over a cut placeholder, resumed in the middle, and taken up again by a second miner."""
    reply = server.asked(f"I am {MAIL}. Where is my parcel?")
    miner, key = make_miner(features=["tools"])
    url = reply["stream_url"]

    async def talk() -> str:
        offer = await take_job(key)
        async with stream(url) as reader:
            await reader.next("started")
            await write(key, offer, "I write to <EM", "AIL_1> now. ", "<EMAIL_1")
            while not reader.text.endswith("now. "):
                await reader.next("delta")
            half = reader.events[-1].id
            async with stream(url, last_event_id=half) as resumed:
                calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"to": "<EMAIL_1>"}'}}]
                await answer(miner, offer, "I write to <EMAIL_1> now. <EMAIL_1>.", tool_calls=calls)
                await resumed.next("done")
                await reader.next("done")
                called = next(event for event in reader.events if event.kind == "tool_call")
                assert called.data["tool_calls"][0]["function"]["arguments"] == f'{{"to": "{MAIL}"}}'
                rest = "".join(event.data["text"] for event in resumed.events if event.kind == "delta")
                assert f"I write to {MAIL} now. {rest}" == reader.text
                return reader.text

    shown = run(talk)
    (stored,) = [log for log in logs_of(reply) if log.role == Role.ASSISTANT]
    assert shown == stored.message == f"I write to {MAIL} now. {MAIL}."
    assert stored.tool_calls[0]["function"]["arguments"] == f'{{"to": "{MAIL}"}}'
    assert MAIL not in job_of(reply).output
    assert server.get(f"/job/{reply['job_id']}/result").json()["result"]["response"] == shown


@pytest.mark.django_db(transaction=True)
def test_questions_at_the_same_time_number_their_data_apart(server: Caller) -> None:
    reply = server.asked("Hello")
    callers = [replace(server, client=Client()) for _ in range(4)]
    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(lambda pair: _asked(*pair), zip(callers, "abcd", strict=True)))
    with platform_scope():
        kept = MaskedValue.objects.filter(conversation=conversation_of(reply)).values_list("placeholder", "value")
        known = dict(kept)
    assert len(set(known)) == len(set(known.values())) == 4
    for letter, asked in zip("abcd", taken, strict=True):
        assert known[job_of(asked).messages[-1]["content"]] == f"{letter}@example.org"


def _asked(caller: Caller, letter: str) -> dict[str, Any]:
    try:
        return caller.asked(f"{letter}@example.org")
    finally:
        connection.close()
