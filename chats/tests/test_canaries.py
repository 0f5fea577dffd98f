"""A canary and a customer's question, side by side, as a miner is sent them."""

from typing import Any

import pytest
from django.utils import timezone

from accounts.tenancy import platform_scope
from chats.canaries import canary_prompt
from chats.models import Bot
from chats.tests.callers import Caller
from miners import trust
from miners.models import Canary
from miners.tests.factories import make_miner
from miners.tests.lane import Lane, run

pytestmark = pytest.mark.django_db(transaction=True)
FACTS = "We open at nine."
QUESTION = "When do you open?"


def taken(key: str) -> dict[str, Any]:
    """What a poll brings, whole, and the lease that its acknowledgement gets."""

    async def scenario() -> dict[str, Any]:
        poll = (await Lane(key).get("/job/next", "wait=1")).data
        (offer,) = poll["jobs"]
        said = {"job_id": offer["job_id"], "fence": offer["fence"], "phase": "prefill", "tokens": 0}
        beat = (await Lane(key).post("/heartbeat", {"status": "busy", "jobs": [said]})).data
        return {"poll": poll, "lease": beat["jobs"][0]}

    found: dict[str, Any] = run(scenario)
    return found


def shape(value: Any) -> Any:
    """The value with every text and number replaced by its kind."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in value.items()}
    if isinstance(value, list):
        return [shape(part) for part in value]
    return type(value).__name__


def test_a_canary_has_the_shape_of_a_customers_question(visitor: Caller, bot: Bot) -> None:
    miner, key = make_miner()
    visitor.asked(QUESTION)
    chat = taken(key)
    canary = Canary.objects.create(question=QUESTION, facts=FACTS, expected="nine")
    with platform_scope():
        trust.send_canary(miner, canary, now=timezone.now())
    trial = taken(key)
    assert shape(trial) == shape(chat)
    same = ("kind", "attempt", "offer_ms", "model", "tools", "tool_choice", "stream", "resume_text")
    mine, theirs = trial["poll"]["jobs"][0], chat["poll"]["jobs"][0]
    assert {name: mine[name] for name in same} == {name: theirs[name] for name in same}
    assert len(mine["prefix_key"]) == len(theirs["prefix_key"])
    assert abs(mine["deadline_ms"] - theirs["deadline_ms"]) < 5_000
    assert trial["lease"]["lease_ms"] == chat["lease"]["lease_ms"]


def test_a_canary_is_worded_by_the_rules_of_every_bot(bot: Bot) -> None:
    words = canary_prompt(facts=FACTS, question=QUESTION)
    system, question = words["messages"]
    assert FACTS in system["content"]
    assert "Rely only on the facts below" in system["content"]
    assert question == {"role": "user", "content": QUESTION}
    assert words["params"]["max_tokens"] == words["max_tokens"] == Bot().max_tokens


def test_no_two_canaries_need_be_alike() -> None:
    assert len({canary_prompt(facts=FACTS, question=QUESTION)["prefix_key"] for _ in range(40)}) > 5
