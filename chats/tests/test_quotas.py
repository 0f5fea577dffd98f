"""How much visitors may send, and who may not write at all."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry, User
from accounts.tenancy import platform_scope
from chats import blocking, quotas
from chats.models import Bot, SafetyPolicy
from chats.policies import Policy, forget_policies, policy_of
from chats.tests.callers import Caller, conversation_of
from chats.tests.factories import ConversationFactory
from mia.lib.errors import RateLimited

pytestmark = pytest.mark.django_db


def test_the_sixty_first_message_in_a_minute_is_refused(bot: Bot) -> None:
    talk, policy, now = ConversationFactory(bot=bot), Policy(SafetyPolicy()), timezone.now()
    for _ in range(60):
        quotas.spend(talk, policy, address_hash="", now=now)
    with pytest.raises(RateLimited) as refused:
        quotas.spend(talk, policy, address_hash="", now=now)
    assert 0 < refused.value.retry_after_s <= 60


@pytest.mark.django_db(transaction=True)
def test_a_days_quota_holds_for_fifty_messages_at_once(bot: Bot) -> None:
    policy, now = Policy(SafetyPolicy(), business_quota=20), timezone.now()
    talks = [ConversationFactory(bot=bot) for _ in range(50)]

    def spend(number: int) -> bool:
        try:
            with platform_scope():
                quotas.spend(talks[number], policy, address_hash="", now=now)
        except RateLimited:
            return False
        finally:
            connection.close()
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(spend, range(50))) == 20


def test_a_bots_quota_is_told_with_the_time_until_midnight(bot: Bot, server: Caller) -> None:
    with platform_scope():
        SafetyPolicy.objects.create(business=bot.business, bot=bot, daily_messages=1)
    forget_policies()
    server.asked()
    refused = server.ask("One more")
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 24 * 3600


def test_a_bots_own_rules_take_the_place_of_the_businesss(bot: Bot) -> None:
    with platform_scope():
        SafetyPolicy.objects.create(business=bot.business, strikes=7, daily_messages=100)
        SafetyPolicy.objects.create(business=bot.business, bot=bot, strikes=2)
        forget_policies()
        policy = policy_of(bot)
    assert (policy.rules.strikes, policy.business_quota, policy.bot_quota) == (2, 100, None)


def test_staff_keep_a_visitor_out_and_let_them_in_again(alice: User, visitor: Caller) -> None:
    talk, now = conversation_of(visitor.asked()), timezone.now()
    with platform_scope():
        blocking.block_by_staff(talk, reason="Spam", agent=alice, now=now)
    assert visitor.ask("Hello?").status_code == 429
    visitor.session_id = visitor.token = None
    assert visitor.ask("From the same address").status_code == 429
    with platform_scope():
        assert blocking.lift_all(talk, actor=alice, now=now + timedelta(minutes=1)) == 1
        told = AuditEntry.objects.filter(target_type="chats.conversation").values_list("changes", flat=True)
        assert [entry.get("reason") for entry in told] == [None, "Spam"]
    assert visitor.ask("Hello again").status_code == 200


def test_an_address_is_kept_as_a_hash_of_its_business(bot: Bot, visitor: Caller) -> None:
    kept = conversation_of(visitor.asked()).address_hash
    assert kept == blocking.hash_address(bot.business_id, "127.0.0.1") != blocking.hash_address(0, "127.0.0.1")
