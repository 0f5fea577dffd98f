"""Outcomes, counted by SQL, against the same counted by hand; and the page that shows them."""

from __future__ import annotations

import csv
import io
import random
import statistics
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Business, User
from accounts.tenancy import business_scope, platform_scope
from chats.analytics.outcomes import Outcomes, Window, outcomes_of
from chats.choices import Owner, Role, Status
from chats.models import Bot, ChatLog, Conversation, OwnershipChange, Rating
from chats.tests.factories import BotFactory

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]

ZONE = "America/New_York"
SINCE = datetime(2026, 3, 1, 5, tzinfo=UTC)  # Midnight in New York.
UNTIL = SINCE + timedelta(days=10)


def script(rng: random.Random) -> dict[str, Any]:
    """What happens in one conversation."""
    handed = rng.random() < 0.4
    closed = rng.random() < 0.5
    return {
        "at": SINCE + timedelta(seconds=rng.randrange(-86_400, 11 * 86_400)),
        "asks": rng.random() < 0.95,
        "ai_after": rng.choice([None, 2, 5, 9, 30]),
        "handed": rng.choice(["visitor", "failure"]) if handed else None,
        "human_after": rng.choice([None, 60, 600]) if handed else None,
        "closed": closed,
        "reopened_after_days": rng.choice([None, None, 2, 9]) if closed else None,
        "score": rng.choice([None, None, 1, 3, 5]),
        "bot": rng.randrange(2),
    }


def play(told: dict[str, Any], bots: list[Bot]) -> None:
    bot, at = bots[told["bot"]], told["at"]
    given = {"business": bot.business}
    talk = Conversation.objects.create(**given, bot=bot, created_at=at, last_message_at=at, status=Status.OPEN)
    given["conversation"] = talk
    said = [(Role.USER, at)] if told["asks"] else []
    said += [(Role.ASSISTANT, at + timedelta(seconds=told["ai_after"]))] if told["ai_after"] else []
    if told["handed"]:
        step = {"from_owner": Owner.AI, "to_owner": Owner.QUEUE, "reason": told["handed"]}
        OwnershipChange.objects.create(**given, **step, at=at + timedelta(seconds=40))
        if told["human_after"]:
            said.append((Role.AGENT, at + timedelta(seconds=40 + told["human_after"])))
    for role, moment in said:
        ChatLog.objects.create(**given, role=role, message="words", timestamp=moment, tokens_generated=10)
    if told["closed"]:
        end = at + timedelta(hours=1)
        OwnershipChange.objects.create(**given, from_owner=Owner.AI, to_owner=Owner.CLOSED, at=end)
        if told["reopened_after_days"]:
            again = end + timedelta(days=told["reopened_after_days"])
            OwnershipChange.objects.create(**given, from_owner=Owner.CLOSED, to_owner=Owner.AI, at=again)
    if told["score"]:
        Rating.objects.create(**given, score=told["score"])


def by_hand(scripts: list[dict[str, Any]], bot: int | None = None) -> Outcomes:
    mine = [one for one in scripts if one["asks"] and SINCE <= one["at"] < UNTIL and bot in {None, one["bot"]}]
    alone = [one for one in mine if one["ai_after"] and not one["handed"]]
    with_people = [one for one in mine if one["human_after"]]
    reasons: dict[str, int] = {}
    for one in mine:
        if one["handed"]:
            reasons[one["handed"]] = reasons.get(one["handed"], 0) + 1

    def mean(group: list[dict[str, Any]]) -> float | None:
        scores = [one["score"] for one in group if one["score"]]
        return statistics.mean(scores) if scores else None

    waits = sorted(one["ai_after"] for one in mine if one["ai_after"])
    return Outcomes(
        eligible=len(mine),
        covered=sum(1 for one in mine if one["ai_after"]),
        autonomous=len(alone),
        assisted=sum(1 for one in with_people if one["ai_after"]),
        human_only=sum(1 for one in with_people if not one["ai_after"]),
        handed=sum(reasons.values()),
        durable=sum(1 for one in mine if one["closed"] and one["reopened_after_days"] in {None, 9}),
        csat_ai=mean(alone),
        csat_human=mean(with_people),
        ai_median_s=statistics.median(waits),
        human_median_s=statistics.median([one["human_after"] for one in with_people]),
        reasons=reasons,
    )


CHECKED = (
    "eligible", "covered", "autonomous", "assisted", "human_only", "handed", "durable", "csat_ai", "csat_human",
    "ai_median_s", "human_median_s",
)  # fmt: skip


@pytest.fixture
def bots(business: Business) -> list[Bot]:
    with platform_scope():
        Business.objects.filter(pk=business.pk).update(time_zone=ZONE)
    return [BotFactory(business=business), BotFactory(business=business)]


@pytest.fixture
def scripts(bots: list[Bot], other_bot: Bot) -> list[dict[str, Any]]:
    rng = random.Random(7)
    made = [script(rng) for _ in range(90)]
    with platform_scope():
        for told in made:
            play(told, bots)
        play({**made[0], "bot": 0, "at": SINCE, "asks": True}, [other_bot])
    return made


def test_every_figure_is_what_is_counted_by_hand(scripts: list[dict[str, Any]], bots: list[Bot]) -> None:
    for bot in (None, 0, 1):
        with business_scope(bots[0].business_id):
            window = Window(bots[0].business_id, SINCE, UNTIL, ZONE, None if bot is None else bots[bot].pk)
            found = outcomes_of(window)
        expected = by_hand(scripts, bot)
        assert {name: getattr(found, name) for name in CHECKED} == pytest.approx(
            {name: getattr(expected, name) for name in CHECKED}
        )
        in_zone = [
            one["at"].astimezone(ZoneInfo(ZONE)).date() for one in scripts if one["asks"] and bot in {None, one["bot"]}
        ]
        for day, there in found.days.items():
            assert there.eligible == in_zone.count(day)


def test_a_window_without_conversations_is_all_noughts(bots: list[Bot]) -> None:
    with business_scope(bots[0].business_id):
        assert outcomes_of(Window(bots[0].business_id, SINCE, UNTIL, ZONE)) == Outcomes()


def test_the_page_shows_one_business_and_a_strangers_is_not_found(
    bots: list[Bot], other_business: Business, victor: User, log_in: LogIn
) -> None:
    told = script(random.Random(1)) | {"at": timezone.now(), "asks": True, "bot": 0}
    with platform_scope():
        play(told, bots)
    browser, address = log_in(victor), reverse("admin:analytics")
    assert "Solved by the AI" in browser.get(address, {"period": "7", "bot": bots[0].pk}).content.decode()
    assert browser.get(address, {"business": other_business.pk}).status_code == 404
    rows = list(csv.reader(io.StringIO(browser.get(address, {"csv": "1"}).content.decode())))
    assert (rows[0][:2], rows[1][1]) == (["day", "eligible"], "1")
    assert "No visitor wrote in this period" in browser.get(address, {"bot": bots[1].pk}).content.decode()


def test_the_period_before_ends_at_the_same_time_of_day_also_when_clocks_change() -> None:
    zone = ZoneInfo(ZONE)
    since, until = datetime(2026, 3, 9, tzinfo=zone), datetime(2026, 3, 9, 10, tzinfo=zone)
    before = Window(1, since, until, ZONE).before(7)
    assert (before.since, before.until) == (datetime(2026, 3, 2, tzinfo=zone), datetime(2026, 3, 2, 10, tzinfo=zone))
