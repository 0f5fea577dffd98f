"""A visitor's data handed over and erased."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from accounts.models import AuditEntry
from accounts.tenancy import platform_scope
from chats.models import Bot
from chats.tests.callers import Caller, conversation_of, count_rows
from knowledge import drafting, gaps
from knowledge.models import QuestionCluster, RetrievalLog, UnansweredQuestion
from knowledge.tests.pages import teach
from miners.models import Job

pytestmark = pytest.mark.django_db

EMAIL = "zoe@visitor.example"
QUESTION = "My address is zoe@visitor.example, do you rent tandems?"


@pytest.fixture
def asked(bot: Bot, visitor: Caller, second_visitor: Caller) -> dict[str, Any]:
    """Zoë asks in vain and leaves her address; somebody else asks the same."""
    with platform_scope():
        Bot.objects.update(business_description="")
    teach(bot.business_id, ("Returns", "You may send back any helmet within 30 days.", ""))
    reply = visitor.asked(QUESTION)
    assert visitor.post(visitor.in_session("lead"), {"name": "Zoë", "email": EMAIL}).status_code == 200
    second_visitor.asked("Do you rent tandems?")
    gaps.gather_due(now=timezone.now())
    return reply


def rows_with(text: str) -> list[str]:
    """The tables that hold a text in any column."""
    found = []
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for (table,) in cursor.fetchall():
            cursor.execute(f'SELECT count(*) FROM "{table}" t WHERE t::text ILIKE %s', [f"%{text}%"])
            if cursor.fetchone()[0]:
                found.append(table)
    return sorted(found)


def test_an_export_holds_what_was_said_and_what_was_found(bot: Bot, asked: dict[str, Any]) -> None:
    printed = io.StringIO()
    call_command("export_visitor", str(bot.business_id), EMAIL, stdout=printed)
    kept = json.loads(printed.getvalue())
    assert kept["conversations"][0]["messages"][0]["message"] == QUESTION
    assert kept["conversations"][0]["leads"][0]["email"] == EMAIL
    assert kept["receipts"][0]["query"] == kept["unanswered_questions"][0]["question"] == QUESTION


def test_an_erased_visitor_is_nowhere(bot: Bot, asked: dict[str, Any]) -> None:
    with platform_scope():
        (cluster,) = QuestionCluster.objects.all()
    drafting.request_draft(cluster, now=timezone.now())
    assert {"knowledge_retrievallog", "miners_job"} <= set(rows_with(EMAIL))
    call_command("erase_visitor", str(bot.business_id), EMAIL, stdout=io.StringIO())
    assert rows_with(EMAIL) == []
    assert rows_with("Zoë") == []
    with platform_scope():
        assert not Job.objects.live().exclude(messages=[]).filter(topic__startswith="draft").exists()
        assert AuditEntry.objects.filter(changes__visitor="erased").count() == 1


def test_other_visitors_keep_theirs(bot: Bot, asked: dict[str, Any]) -> None:
    call_command("erase_visitor", str(bot.business_id), asked["session_id"], stdout=io.StringIO())
    conversations, _logs, _jobs = count_rows()
    with platform_scope():
        assert (conversations, RetrievalLog.objects.count()) == (1, 1)
        (cluster,) = QuestionCluster.objects.all()
        assert (cluster.question, cluster.size) == ("Do you rent tandems?", 1)
        assert UnansweredQuestion.objects.get().question == "Do you rent tandems?"


def test_nobody_is_found_in_another_business(other_bot: Bot, asked: dict[str, Any]) -> None:
    call_command("erase_visitor", str(other_bot.business_id), EMAIL, stdout=io.StringIO())
    assert conversation_of(asked).visitor_email == EMAIL


def test_a_business_that_is_not_there_is_refused(db: None) -> None:
    with pytest.raises(CommandError, match="no business"):
        call_command("erase_visitor", "Nobody & Sons", EMAIL)
