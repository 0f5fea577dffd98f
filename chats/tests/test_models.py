"""What the database itself refuses, whoever writes."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import RestrictedError
from django.db.utils import ProgrammingError

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from accounts.tests.factories import ApiKeyFactory
from chats.choices import Role
from chats.models import AgentSeat, Bot, ChatLog, Conversation, Feedback, Lead, Rating
from chats.tests.factories import BotFactory, ChatLogFactory, ConversationFactory
from miners.tests.factories import make_job

pytestmark = pytest.mark.django_db


def assert_refused(model: type[Any], **fields: Any) -> None:
    with platform_scope(), pytest.raises(IntegrityError), transaction.atomic():
        model.objects.create(**fields)
        connection.check_constraints()


@pytest.mark.parametrize(
    "fields",
    [
        {"max_tokens": 0},
        {"max_tokens": 4097},
        {"temperature": -0.1},
        {"temperature": 2.1},
        {"max_context_tokens": 10},
        {"position": "top"},
    ],
)
def test_a_bot_out_of_its_limits_is_refused(business: Business, fields: dict[str, Any]) -> None:
    assert_refused(Bot, business=business, name="Dora", **fields)


def test_a_business_has_one_default_bot(bot: Bot, business: Business) -> None:
    assert_refused(Bot, business=business, name="Second", is_default=True)


def test_modes_states_and_roles_are_the_known_ones(bot: Bot) -> None:
    assert_refused(Conversation, business=bot.business, bot=bot, mode="robot")
    assert_refused(Conversation, business=bot.business, bot=bot, status="lost")
    conversation = ConversationFactory(bot=bot)
    assert_refused(ChatLog, business=bot.business, conversation=conversation, role="admin")


def test_a_tools_result_names_its_call(bot: Bot) -> None:
    conversation = ConversationFactory(bot=bot)
    assert_refused(ChatLog, business=bot.business, conversation=conversation, role=Role.TOOL, message="x")


def test_an_id_of_the_business_is_given_once(bot: Bot, other_bot: Bot) -> None:
    ConversationFactory(bot=bot, external_id="crm-1")
    ConversationFactory(bot=other_bot, external_id="crm-1")
    ConversationFactory.create_batch(2, bot=bot, external_id="")
    assert_refused(Conversation, business=bot.business, bot=bot, external_id="crm-1")


def test_an_answer_has_one_thumb_and_a_conversation_one_rating(bot: Bot) -> None:
    log = ChatLogFactory(conversation__bot=bot, answer=True)
    with platform_scope():
        Feedback.objects.create(business=bot.business, message=log, verdict="positive")
        Rating.objects.create(business=bot.business, conversation=log.conversation, score=5)
    assert_refused(Feedback, business=bot.business, message=log, verdict="negative")
    assert_refused(Rating, business=bot.business, conversation=log.conversation, score=1)


@pytest.mark.parametrize("score", [0, 6])
def test_a_rating_is_one_to_five(bot: Bot, score: int) -> None:
    assert_refused(Rating, business=bot.business, conversation=ConversationFactory(bot=bot), score=score)


def test_a_lead_can_be_reached(bot: Bot) -> None:
    assert_refused(Lead, business=bot.business, conversation=ConversationFactory(bot=bot), name="Zoë")


def test_no_row_points_into_another_business(bot: Bot, other_bot: Bot, business: Business) -> None:
    foreign = ConversationFactory(bot=other_bot)
    foreign_log = ChatLogFactory(conversation=foreign)
    own = ConversationFactory(bot=bot)
    assert_refused(Conversation, business=business, bot=other_bot)
    assert_refused(ChatLog, business=business, conversation=foreign, role=Role.USER)
    assert_refused(Feedback, business=business, message=foreign_log, verdict="positive")
    assert_refused(Lead, business=business, conversation=foreign, email="a@b.example")
    assert_refused(Rating, business=business, conversation=foreign, score=5)
    assert_refused(AgentSeat, business=business, conversation=foreign)
    job = make_job(business_id=other_bot.business_id)
    assert_refused(ChatLog, business=business, conversation=own, role=Role.USER, job=job)
    key = ApiKeyFactory(business=other_bot.business, kind="publishable")
    assert_refused(Bot, business=business, name="Thief", widget_key=key)


def test_a_business_writes_only_its_own_rows(bot: Bot, other_business: Business) -> None:
    with business_scope(other_business.pk), pytest.raises(ProgrammingError), transaction.atomic():
        Bot.objects.create(business=bot.business, name="Thief")


def test_a_bot_with_conversations_is_not_deleted_but_goes_with_its_business(bot: Bot) -> None:
    ChatLogFactory(conversation__bot=bot)
    with platform_scope():
        with pytest.raises(RestrictedError):
            bot.delete()
        bot.business.delete()
        assert not Conversation.objects.exists()
        assert not ChatLog.objects.exists()


def test_a_message_outlives_its_job(bot: Bot) -> None:
    job = make_job(business_id=bot.business_id)
    log = ChatLogFactory(conversation__bot=bot, job=job)
    with platform_scope():
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM miners_job WHERE id = %s", [job.pk])
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        log.refresh_from_db()
    assert log.job_id is None


def test_the_snippet_is_one_short_line() -> None:
    conversation = Conversation()
    conversation.touch("a  b\n\nc " + "x" * 500, None)
    assert conversation.snippet.startswith("a b c xxx")
    assert len(conversation.snippet) == 200


def test_two_bots_of_one_business_may_share_a_name(business: Business) -> None:
    BotFactory.create_batch(2, business=business, name="Dora")
