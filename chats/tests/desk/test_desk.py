"""What agents keep and do together: nothing of it reaches a visitor, a model or another business."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from accounts.models import User
from accounts.tenancy import platform_scope
from chats import handoffs, inbox
from chats.choices import Mode, Owner, PersonalDataTrust
from chats.desk.drafting import topic_of
from chats.models import Bot, CannedReply, Conversation, OwnershipChange, SafetyPolicy, Tag
from chats.policies import forget_policies
from chats.tests.callers import Caller, conversation_of, job_of
from chats.tests.factories import ChatLogFactory, ConversationFactory
from chats.tests.talks import ANSWER, leave_desk_rows, make_talk, reread
from mia.lib.errors import Conflict
from miners.choices import JobState
from miners.models import Job

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]


def page(talk: Conversation, name: str, *args: object) -> str:
    return reverse(f"admin:chats_conversation_{name}", args=[talk.pk, *args])


def owners_of(talk: Conversation) -> list[tuple[str, str, str]]:
    with platform_scope():
        rows = OwnershipChange.objects.filter(conversation=talk).order_by("pk")
        return list(rows.values_list("from_owner", "to_owner", "actor_name"))


def test_every_step_between_ai_queue_human_and_end_is_on_record(visitor: Caller, bob: User) -> None:
    talk = conversation_of(visitor.asked("Hello"))
    visitor.post(visitor.in_session("handoff"), {})
    name, now = bob.get_short_name(), timezone.now()
    with platform_scope():
        inbox.take_over(conversation=reread(talk), agent=bob, now=now)
        inbox.resolve(conversation=reread(talk), agent=bob, now=now)
    visitor.asked("One more thing")
    assert owners_of(talk) == [
        (Owner.AI, Owner.QUEUE, ""),
        (Owner.QUEUE, Owner.HUMAN, name),
        (Owner.HUMAN, Owner.AI, name),
        (Owner.AI, Owner.CLOSED, name),
        (Owner.CLOSED, Owner.AI, ""),
    ]


def test_of_two_agents_who_take_over_one_is_told_who_was_quicker(bot: Bot, alice: User, bob: User) -> None:
    talk = ConversationFactory(bot=bot)
    with platform_scope():
        first, second = reread(talk), reread(talk)
        handoffs.take_over(first, agent=alice, now=timezone.now())
        with pytest.raises(Conflict, match="already took"):
            handoffs.take_over(second, agent=bob, now=timezone.now())
    assert (reread(talk).assignee, reread(talk).mode) == (alice, Mode.HUMAN)


def test_notes_are_read_by_colleagues_and_by_nobody_else(visitor: Caller, bob: User, log_in: LogIn) -> None:
    talk = conversation_of(visitor.asked("Hello"))
    log_in(bob).post(page(talk, "note"), {"text": "Wants a discount, be careful."})
    assert "Wants a discount" in log_in(bob).get(page(talk, "change")).content.decode()
    assert "discount" not in visitor.get(visitor.in_session("messages")).content.decode()
    assert "discount" not in str(job_of(visitor.asked("And now?")).messages)


def test_a_viewer_reads_and_a_stranger_finds_nothing(bot: Bot, victor: User, charlie: User, log_in: LogIn) -> None:
    talk = make_talk(bot)
    assert log_in(victor).post(page(talk, "note"), {"text": "x"}).status_code == 403
    for name in ("note", "tags", "ask_draft"):
        assert log_in(charlie).post(page(talk, name), {"text": "x"}).status_code == 404
    assert log_in(charlie).get(page(talk, "canned")).status_code == 404


def test_only_tags_of_the_own_business_are_put_on(bot: Bot, other_bot: Bot, bob: User, log_in: LogIn) -> None:
    talk = make_talk(bot)
    with platform_scope():
        own = Tag.objects.create(business=bot.business, name="refund")
        foreign = Tag.objects.create(business=other_bot.business, name="secret")
    log_in(bob).post(page(talk, "tags"), {"tag": [own.pk, foreign.pk]})
    with platform_scope():
        assert [str(worn.tag) for worn in talk.tagged.all()] == ["refund"]
    listed = log_in(bob).get(reverse("admin:chats_conversation_changelist"), {"tag": own.pk}).content.decode()
    assert ANSWER in listed
    log_in(bob).post(page(talk, "tags"), {})
    with platform_scope():
        assert not talk.tagged.exists()


def test_canned_replies_come_with_the_names_put_in(bot: Bot, bob: User, log_in: LogIn) -> None:
    talk = make_talk(bot, visitor_name="Ana")
    with platform_scope():
        CannedReply.objects.create(business=bot.business, shortcut="hi", title="Hi", text="Hi {visitor}, I am {agent}.")
    (reply,) = log_in(bob).get(page(talk, "canned")).json()["replies"]
    assert reply["text"] == f"Hi Ana, I am {bob.get_short_name()}."


def test_what_sleeps_is_out_of_the_list_until_the_visitor_writes(visitor: Caller, bob: User, log_in: LogIn) -> None:
    talk = conversation_of(visitor.asked("My unusual parcel"))
    log_in(bob).post(page(talk, "act", "nap"))
    inbox_page = reverse("admin:chats_conversation_changelist")
    assert reread(talk).snoozed_until > timezone.now() + timedelta(hours=23)
    assert "unusual parcel" not in log_in(bob).get(inbox_page).content.decode()
    assert "unusual parcel" in log_in(bob).get(inbox_page, {"asleep": "yes"}).content.decode()
    visitor.asked("My unusual parcel, again")
    assert "unusual parcel" in log_in(bob).get(inbox_page).content.decode()


def test_colleagues_are_seen_looking_and_writing(bot: Bot, alice: User, bob: User, log_in: LogIn) -> None:
    talk = make_talk(bot)
    log_in(alice).get(page(talk, "change"))
    assert f"{alice.get_short_name()} is looking, too" in log_in(bob).get(page(talk, "transcript")).content.decode()
    log_in(alice).post(page(talk, "typing"))
    assert f"{alice.get_short_name()} is writing" in log_in(bob).get(page(talk, "transcript")).content.decode()


def test_the_ai_drafts_for_the_agent_and_hides_what_miners_may_not_read(bot: Bot, bob: User, log_in: LogIn) -> None:
    talk = make_talk(bot)
    ChatLogFactory(conversation=talk, message="Write to ana@example.org, please.")
    with platform_scope():
        SafetyPolicy.objects.create(business=bot.business, personal_data_trust=PersonalDataTrust.NOBODY)
    forget_policies()
    asked = log_in(bob).post(page(talk, "ask_draft"), {"wish": "draft"})
    assert asked.status_code == 202
    job_id = asked.json()["job_id"]
    draft = page(talk, "draft", job_id)
    assert log_in(bob).get(draft).json() == {"is_over": False, "text": ""}
    with platform_scope():
        job = Job.objects.get(pk=job_id)
        assert (job.topic, "ana@example.org" in str(job.messages)) == (topic_of(talk), False)
        words = {"output": "We will write to <EMAIL_1>.", "finished_at": timezone.now()}
        Job.objects.filter(pk=job_id).update(state=JobState.COMPLETED, **words)
    assert log_in(bob).get(draft).json() == {"is_over": True, "text": "We will write to ana@example.org."}
    assert "We will write" not in log_in(bob).get(page(talk, "change")).content.decode()


def test_the_pulse_moves_with_every_message_and_costs_one_look(visitor: Caller, bob: User, log_in: LogIn) -> None:
    visitor.asked("Hello")
    browser, address = log_in(bob), reverse("admin:chats_conversation_pulse")
    before = browser.get(address).json()
    visitor.post(visitor.in_session("handoff"), {})
    with CaptureQueriesContext(connection) as seen:
        after = browser.get(address).json()
    assert (before["version"] != after["version"], after["waiting"]) == (True, 1)
    assert len([query for query in seen if "chats_conversation" in query["sql"]]) == 1


def test_the_page_asks_as_often_however_much_there_is(bot: Bot, bob: User, log_in: LogIn) -> None:
    talks: list[Any] = [make_talk(bot), make_talk(bot)]
    leave_desk_rows(talks[0])
    browser = log_in(bob)
    browser.get(page(talks[0], "change"))
    counts = []
    for talk in talks:
        with CaptureQueriesContext(connection) as seen:
            browser.get(page(talk, "change"))
        counts.append(len(seen))
    assert abs(counts[0] - counts[1]) <= 2
