"""Chats in the admin: bots that are made, conversations that are read and worked, and walls around each business."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils.html import escape

from accounts.choices import KeyKind
from accounts.models import ApiKey, AuditEntry, Business, User
from accounts.tenancy import platform_scope
from accounts.tests.factories import ApiKeyFactory
from chats.choices import Mode, Role, Status
from chats.models import Bot, ChatLog, Conversation
from chats.tests.factories import BotFactory, ChatLogFactory, ConversationFactory
from chats.tests.talks import ANSWER, QUESTION, answer_of, leave_everything, make_talk, notes_of, reread
from miners import streams
from miners.choices import JobState
from miners.models import Job, Miner
from miners.tests.factories import make_miner, reload
from miners.tests.lives import make_life

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]


def page(model: str, *args: object, name: str = "change") -> str:
    return reverse(f"admin:chats_{model}_{name}", args=args)


def act(browser: Client, talk: Conversation, name: str) -> Any:
    return browser.post(page("conversation", talk.pk, name, name="act"), follow=True)


def run_action(browser: Client, name: str, *talks: Conversation) -> Any:
    chosen = {"action": name, "_selected_action": [talk.pk for talk in talks]}
    return browser.post(page("conversation", name="changelist"), chosen, follow=True)


def seen(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def count_queries(browser: Client, address: str) -> int:
    with CaptureQueriesContext(connection) as queries:
        assert browser.get(address).status_code == 200
    return len(queries)


@pytest.fixture
def miner() -> Miner:
    return make_miner(name="rtx4090-basel", ip_address="203.0.113.77")[0]


@pytest.fixture
def talk(bot: Bot, miner: Miner) -> Conversation:
    return make_talk(bot, miner=miner, visitor_name="Ana Keller", visitor_email="ana@example.org")


@pytest.fixture
def owner(alice: User, log_in: LogIn) -> Client:
    return log_in(alice)


@pytest.fixture
def agent(bob: User, log_in: LogIn) -> Client:
    return log_in(bob)


@pytest.fixture
def stranger_in_the_admin(charlie: User, log_in: LogIn) -> Client:
    return log_in(charlie)


class TestBots:
    FORM = {
        "name": "Dora",
        "role": "helper",
        "business_description": "A tyre costs 30 francs.",
        "languages": "en, de-CH fr en",
        "first_message": "Hi",
        "max_tokens": "300",
        "temperature": "0.2",
        "max_context_tokens": "4096",
        "color": "#12ab9f",
        "position": "left",
        "is_active": "on",
    }

    def bots(self, business: Business) -> list[Bot]:
        with platform_scope():
            return list(Bot.objects.for_business(business).order_by("pk"))

    def test_owner_makes_a_bot(self, owner: Client, business: Business) -> None:
        owner.post(page("bot", name="add"), {**self.FORM, "is_default": "on"})
        (bot,) = self.bots(business)
        assert (bot.name, bot.color, bot.position, bot.is_default) == ("Dora", "#12ab9f", "left", True)
        assert bot.languages == ["en", "de-CH", "fr"]

    def test_first_bot_is_proposed_as_the_default(self, owner: Client) -> None:
        form = seen(owner.get(page("bot", name="add")))
        assert re.search(r'name="is_default"[^>]*checked', form)
        assert 'type="color"' in form

    @pytest.mark.parametrize(
        ("field", "value", "complaint"),
        [
            ("languages", "en, elvish!", "no language code"),
            ("languages", ", ".join(f"a{chr(97 + number)}" for number in range(25)), "20 languages at most"),
            ("color", "red", "#rrggbb"),
            ("max_tokens", "0", "greater than or equal to 1"),
            ("temperature", "9", "less than or equal to 2"),
            ("name", "", "This field is required"),
        ],
    )
    def test_wrong_value_is_explained(
        self, owner: Client, business: Business, field: str, value: str, complaint: str
    ) -> None:
        assert complaint in seen(owner.post(page("bot", name="add"), {**self.FORM, field: value}))
        assert self.bots(business) == []

    def test_new_default_takes_the_place_of_the_old(self, owner: Client, business: Business, bot: Bot) -> None:
        owner.post(page("bot", name="add"), {**self.FORM, "name": "Second", "is_default": "on"})
        assert [(row.name, row.is_default) for row in self.bots(business)] == [("Dora", False), ("Second", True)]

    def test_page_shows_the_snippet_with_the_beginning_of_the_key(
        self, owner: Client, bot: Bot, publishable_key: ApiKey
    ) -> None:
        text = seen(owner.get(page("bot", bot.pk)))
        assert escape(f'<script async src="http://testserver/widget.js" data-key="{publishable_key.hint}"') in text
        assert publishable_key.plain not in text  # type: ignore[attr-defined]

    def test_page_without_a_key_leads_to_one(self, owner: Client, agent: Client, bot: Bot) -> None:
        link = f"{reverse('admin:accounts_apikey_add')}?kind=publishable"
        assert link in seen(owner.get(page("bot", bot.pk)))
        assert link not in seen(agent.get(page("bot", bot.pk)))

    def test_key_of_another_business_is_refused(
        self, root: User, log_in: LogIn, business: Business, other_business: Business
    ) -> None:
        foreign = ApiKeyFactory(business=other_business, kind=KeyKind.PUBLISHABLE)
        form = {**self.FORM, "business": business.pk, "widget_key": foreign.pk}
        assert "another business" in seen(log_in(root).post(page("bot", name="add"), form))

    def test_key_of_another_business_is_not_offered(self, owner: Client, bot: Bot, other_business: Business) -> None:
        ApiKeyFactory(business=other_business, kind=KeyKind.PUBLISHABLE, name="Secret sweets")
        assert "Secret sweets" not in seen(owner.get(page("bot", bot.pk)))

    def test_agent_reads_and_does_not_change(self, agent: Client, bot: Bot) -> None:
        seen(agent.get(page("bot", bot.pk)))
        assert agent.post(page("bot", bot.pk), {**self.FORM, "name": "Mine"}).status_code == 403
        assert agent.get(page("bot", name="add")).status_code == 403

    def test_stranger_finds_no_bot(self, stranger_in_the_admin: Client, bot: Bot) -> None:
        assert stranger_in_the_admin.get(page("bot", bot.pk)).status_code == 404
        assert page("bot", bot.pk) not in seen(stranger_in_the_admin.get(page("bot", name="changelist")))

    def test_bot_with_conversations_stays(self, owner: Client, bot: Bot, talk: Conversation) -> None:
        owner.post(page("bot", bot.pk, name="delete"), {"post": "yes"})
        assert len(self.bots(bot.business)) == 1


class TestInbox:
    def test_list_shows_who_said_what_and_when(self, agent: Client, talk: Conversation) -> None:
        text = seen(agent.get(page("conversation", name="changelist")))
        for words in ("Ana Keller", "ana@example.org", ANSWER, "Dora", "Open", "AI"):
            assert words in text
        assert re.search(r"field-message_total[^>]*>\s*2\s*<", text)

    def test_tabs_count_what_waits_and_what_is_mine(self, agent: Client, bob: User, bot: Bot) -> None:
        make_talk(bot, status=Status.WAITING)
        make_talk(bot, assignee=bob)
        text = re.sub(r"\s+", " ", seen(agent.get(page("conversation", name="changelist"))))
        assert 'Waiting for a human <span class="mia-number">1</span>' in text
        assert 'Mine <span class="mia-number">1</span>' in text

    @pytest.mark.parametrize(("choice", "found"), [("me", "Mine"), ("nobody", "Free"), ("somebody", "Mine")])
    def test_filter_by_who_looks_after_it(self, agent: Client, bob: User, bot: Bot, choice: str, found: str) -> None:
        make_talk(bot, visitor_name="Mine visitor", assignee=bob)
        make_talk(bot, visitor_name="Free visitor")
        text = seen(agent.get(page("conversation", name="changelist") + f"?assigned={choice}"))
        assert set(re.findall(r"(Mine|Free) visitor", text)) == {found}

    @pytest.mark.parametrize("term", ["keller", "ANA@", "tyre costs", "does a tyre"])
    def test_search_reaches_visitor_and_words(self, agent: Client, talk: Conversation, term: str) -> None:
        other = ConversationFactory(bot=talk.bot, visitor_name="Nobody")
        text = seen(agent.get(page("conversation", name="changelist"), {"q": term}))
        assert (page("conversation", talk.pk) in text, page("conversation", other.pk) in text) == (True, False)

    def test_search_by_the_id_that_visitors_programs_know(self, agent: Client, talk: Conversation) -> None:
        text = seen(agent.get(page("conversation", name="changelist"), {"q": str(talk.public_id)}))
        assert page("conversation", talk.pk) in text

    def test_list_costs_as_many_queries_with_25_conversations_as_with_5(self, agent: Client, bot: Bot) -> None:
        for _ in range(5):
            make_talk(bot)
        few = count_queries(agent, page("conversation", name="changelist"))
        for _ in range(20):
            make_talk(bot)
        assert count_queries(agent, page("conversation", name="changelist")) == few

    def test_several_are_taken_and_resolved(self, agent: Client, bob: User, bot: Bot) -> None:
        talks = [make_talk(bot) for _ in range(2)]
        assert "in charge of 2 conversations" in seen(run_action(agent, "assign_selected", *talks))
        assert {reread(talk).assignee for talk in talks} == {bob}
        assert "2 conversations are resolved" in seen(run_action(agent, "resolve_selected", *talks))
        assert {reread(talk).status for talk in talks} == {Status.RESOLVED}

    def test_transcripts_are_exported_as_text(self, agent: Client, talk: Conversation, bot: Bot) -> None:
        other = make_talk(bot)
        response = run_action(agent, "export_selected", talk, other)
        assert response["Content-Type"].startswith("text/plain")
        text = response.content.decode()
        assert text.count(f"Visitor: {QUESTION}") == text.count(f"AI: {ANSWER}") == 2


class TestTranscript:
    def test_page_reads_as_a_talk(self, agent: Client, talk: Conversation) -> None:
        leave_everything(talk)
        text = seen(agent.get(page("conversation", talk.pk)))
        for words in (
            QUESTION,
            ANSWER,
            "12 tokens",
            "2.4 s",
            "rtx4090-basel",
            "Too dear.",
            "+41 79 555 11 22",
            "Call me.",
            "2/5",
        ):
            assert escape(words) in text
        assert reverse("admin:miners_job_change", args=[answer_of(talk).job_id]) in text

    def test_business_staff_see_no_address_of_a_miner_nor_a_way_to_it(self, agent: Client, talk: Conversation) -> None:
        text = seen(agent.get(page("conversation", talk.pk)))
        assert ("203.0.113.77" in text, "/admin/miners/miner/" in text) == (False, False)

    def test_times_are_those_of_the_business(self, agent: Client, talk: Conversation) -> None:
        noon = datetime(2026, 1, 15, 11, 30, tzinfo=UTC)
        with platform_scope():
            Business.objects.filter(pk=talk.business_id).update(time_zone="Asia/Tokyo")
            ChatLog.objects.filter(conversation=talk).update(timestamp=noon)
        text = seen(agent.get(page("conversation", talk.pk)))
        assert ">20:30</time>" in text
        assert "Thursday 15 January 2026" in text

    def test_words_of_a_visitor_are_never_markup(self, agent: Client, talk: Conversation) -> None:
        evil = "<img src=x onerror=alert(1)>"
        ChatLogFactory(conversation=talk, message=evil)
        with platform_scope():
            Conversation.objects.filter(pk=talk.pk).update(visitor_name=evil, snippet=evil)
        for address in (page("conversation", talk.pk), page("conversation", name="changelist")):
            text = seen(agent.get(address))
            assert evil not in text
            assert escape(evil) in text

    @pytest.mark.parametrize(
        ("citation", "shown", "hidden"),
        [
            ({"title": "Prices", "url": "https://shop.example/prices"}, 'href="https://shop.example/prices"', "\x00"),
            ({"title": "Trap", "url": "javascript:alert(1)"}, "Trap", "javascript:"),
            ("page 3", "page 3", "\x00"),
        ],
    )
    def test_sources_link_to_the_web_and_nowhere_else(
        self, agent: Client, talk: Conversation, citation: object, shown: str, hidden: str
    ) -> None:
        with platform_scope():
            ChatLog.objects.filter(conversation=talk, role=Role.ASSISTANT).update(citations=[citation])
        text = seen(agent.get(page("conversation", talk.pk)))
        assert (shown in text, hidden in text) == (True, False)

    def test_long_talk_shows_its_end_first(self, agent: Client, talk: Conversation) -> None:
        with platform_scope():
            ChatLog.objects.bulk_create(
                ChatLog(business=talk.business, conversation=talk, role=Role.USER, message=f"line {number}.")
                for number in range(310)
            )
        text = seen(agent.get(page("conversation", talk.pk)))
        assert ("line 309." in text, QUESTION in text, "12 older messages" in text) == (True, False, True)
        assert QUESTION in seen(agent.get(page("conversation", talk.pk) + "?all=1"))

    def test_page_costs_as_many_queries_with_50_messages_as_with_4(self, agent: Client, bot: Bot, miner: Miner) -> None:
        short, long = make_talk(bot, miner=miner), make_talk(bot, miner=miner)
        for _ in range(24):
            job = make_life(JobState.COMPLETED, miner=make_miner()[0], business=bot.business)
            ChatLogFactory(conversation=long, job=job)
            ChatLogFactory(conversation=long, answer=True, job=job)
        few = count_queries(agent, page("conversation", short.pk))
        assert count_queries(agent, page("conversation", long.pk)) == few

    def test_fragment_is_sent_once_until_something_changes(self, agent: Client, talk: Conversation) -> None:
        address = page("conversation", talk.pk, name="transcript")
        first = agent.get(address)
        assert QUESTION in seen(first)
        again = {"If-None-Match": first["ETag"]}
        assert agent.get(address, headers=again).status_code == 304
        ChatLogFactory(conversation=talk, message="And a chain?")
        assert "And a chain?" in seen(agent.get(address, headers=again))

    def test_fragment_shows_the_answer_as_it_is_written(self, agent: Client, talk: Conversation, miner: Miner) -> None:
        job = make_life(JobState.RUNNING, miner=miner, business=talk.business, topic=talk.topic)
        with platform_scope():
            Conversation.objects.filter(pk=talk.pk).update(last_job_id=job.pk)
        streams.sync_redis().xadd(streams.stream_key(job.pk), {"k": "delta", "a": 1, "o": 0, "t": "A chain costs"})
        text = seen(agent.get(page("conversation", talk.pk, name="transcript")))
        assert "A chain costs" in text
        assert 'data-line="writing"' in text

    def test_export_is_a_file_in_the_time_of_the_business(self, agent: Client, talk: Conversation) -> None:
        response = agent.get(page("conversation", talk.pk, name="export"))
        assert "attachment" in response["Content-Disposition"]
        text = response.content.decode()
        assert f"Visitor: {QUESTION}" in text
        assert "Visitor: Ana Keller ana@example.org" in text

    def test_job_leads_to_its_conversation(
        self, agent: Client, stranger_in_the_admin: Client, talk: Conversation
    ) -> None:
        address = reverse("admin:chats_conversation_of_job", args=[talk.last_job_id])
        assert agent.get(address)["Location"] == page("conversation", talk.pk)
        assert stranger_in_the_admin.get(address).status_code == 404


class TestWork:
    def test_agent_takes_over_writes_and_hands_back(self, agent: Client, bob: User, talk: Conversation) -> None:
        act(agent, talk, "take_over")
        assert (reread(talk).mode, reread(talk).assignee) == (Mode.HUMAN, bob)
        agent.post(page("conversation", talk.pk, name="say"), {"message": "Hello, Bob here."})
        act(agent, talk, "hand_back")
        assert (reread(talk).mode, reread(talk).assignee) == (Mode.AI, None)
        with platform_scope():
            said = ChatLog.objects.get(conversation=talk, role=Role.AGENT)
        assert (said.message, said.author) == ("Hello, Bob here.", bob)
        assert notes_of(talk) == [f"{bob} took over.", f"{bob} handed back to the AI."]

    def test_take_over_stops_what_the_ai_is_writing(self, agent: Client, talk: Conversation, miner: Miner) -> None:
        job = make_life(JobState.RUNNING, miner=miner, business=talk.business, topic=talk.topic)
        with platform_scope():
            Conversation.objects.filter(pk=talk.pk).update(last_job_id=job.pk)
        act(agent, talk, "take_over")
        assert reload(job).state == JobState.CANCELLED

    def test_words_go_to_nobody_while_the_ai_answers(self, agent: Client, talk: Conversation) -> None:
        response = agent.post(page("conversation", talk.pk, name="say"), {"message": "Hi"}, follow=True)
        assert "Take over first" in seen(response)
        with platform_scope():
            assert not ChatLog.objects.filter(conversation=talk, role=Role.AGENT).exists()

    @pytest.mark.parametrize(("message", "status"), [("", 400), ("   ", 400), ("x" * 8001, 400), ("Hi\x00!", 204)])
    def test_page_s_script_is_told_what_is_wrong(
        self, agent: Client, talk: Conversation, message: str, status: int
    ) -> None:
        act(agent, talk, "take_over")
        headers = {"X-Requested-With": "fetch"}
        response = agent.post(page("conversation", talk.pk, name="say"), {"message": message}, headers=headers)
        assert response.status_code == status
        assert status == 204 or response.content

    def test_typing_needs_a_person_in_charge(self, agent: Client, talk: Conversation) -> None:
        assert agent.post(page("conversation", talk.pk, name="typing")).status_code == 204

    def test_resolved_conversation_is_the_ai_s_again(self, agent: Client, talk: Conversation) -> None:
        act(agent, talk, "take_over")
        act(agent, talk, "resolve")
        assert (reread(talk).status, reread(talk).mode) == (Status.RESOLVED, Mode.AI)
        act(agent, talk, "reopen")
        assert reread(talk).status == Status.OPEN

    def test_every_act_is_on_record(self, agent: Client, bob: User, talk: Conversation) -> None:
        for name in ("take_over", "hand_back", "assign_to_me", "resolve", "reopen"):
            act(agent, talk, name)
        with platform_scope():
            entries = AuditEntry.objects.filter(target_type="chats.conversation").order_by("pk")
            acts = [(entry.actor_user_id, entry.changes["act"]) for entry in entries]
        assert acts == [(bob.pk, name) for name in ("take_over", "hand_back", "assign_to_me", "resolve", "reopen")]

    def test_viewer_reads_and_does_nothing(self, log_in: LogIn, victor: User, talk: Conversation) -> None:
        browser = log_in(victor)
        text = seen(browser.get(page("conversation", talk.pk)))
        assert ("/act/" in text, "data-composer" in text) == (False, False)
        for name in ("take_over", "resolve"):
            assert browser.post(page("conversation", talk.pk, name, name="act")).status_code == 403
        assert browser.post(page("conversation", talk.pk, name="say"), {"message": "x"}).status_code == 403
        run_action(browser, "resolve_selected", talk)
        assert reread(talk).status == Status.OPEN

    def test_nobody_edits_adds_or_deletes_a_conversation(self, owner: Client, talk: Conversation) -> None:
        assert owner.post(page("conversation", talk.pk), {"snippet": "x"}).status_code == 403
        assert owner.get(page("conversation", name="add")).status_code == 403
        assert owner.post(page("conversation", talk.pk, name="delete"), {"post": "yes"}).status_code == 403

    def test_work_of_a_stranger_is_not_found(self, stranger_in_the_admin: Client, talk: Conversation) -> None:
        browser = stranger_in_the_admin
        assert browser.get(page("conversation", talk.pk)).status_code == 404
        for name in ("transcript", "export"):
            assert browser.get(page("conversation", talk.pk, name=name)).status_code == 404
        for name in ("say", "typing"):
            assert browser.post(page("conversation", talk.pk, name=name), {"message": "x"}).status_code == 404
        assert browser.post(page("conversation", talk.pk, "take_over", name="act")).status_code == 404
        for name in ("assign_selected", "resolve_selected", "export_selected"):
            assert QUESTION not in run_action(browser, name, talk).content.decode()
        assert (reread(talk).mode, reread(talk).status, reread(talk).assignee) == (Mode.AI, Status.OPEN, None)

    def test_list_of_a_stranger_is_empty(self, stranger_in_the_admin: Client, talk: Conversation) -> None:
        for query in ("", "?q=tyre", f"?bot__id__exact={talk.bot_id}", "?status__exact=open"):
            response = stranger_in_the_admin.get(page("conversation", name="changelist") + query)
            assert page("conversation", talk.pk) not in response.content.decode()
            assert ANSWER not in response.content.decode()


class TestWhatVisitorsLeave:
    @pytest.mark.parametrize(
        ("model", "words"), [("feedback", "Too dear."), ("lead", "ana@example.org"), ("rating", "Slow.")]
    )
    def test_is_read_by_its_business_and_changed_by_nobody(
        self, owner: Client, stranger_in_the_admin: Client, talk: Conversation, model: str, words: str
    ) -> None:
        row = dict(zip(("feedback", "lead", "rating"), leave_everything(talk), strict=True))[model]
        assert words in seen(owner.get(page(model, name="changelist")))
        assert words in seen(owner.get(page(model, row.pk)))
        assert owner.post(page(model, row.pk), {"note": "x"}).status_code == 403
        assert owner.post(page(model, row.pk, name="delete"), {"post": "yes"}).status_code == 403
        assert owner.get(page(model, name="add")).status_code == 403
        assert words not in seen(stranger_in_the_admin.get(page(model, name="changelist")))
        assert stranger_in_the_admin.get(page(model, row.pk)).status_code == 404

    @pytest.mark.parametrize("model", ["feedback", "lead", "rating"])
    def test_list_costs_as_many_queries_with_25_rows_as_with_5(self, owner: Client, bot: Bot, model: str) -> None:
        for _ in range(5):
            leave_everything(make_talk(bot))
        few = count_queries(owner, page(model, name="changelist"))
        for _ in range(20):
            leave_everything(make_talk(bot))
        assert count_queries(owner, page(model, name="changelist")) == few

    def test_list_of_bots_costs_as_many_queries_with_25_as_with_5(self, owner: Client, business: Business) -> None:
        for _ in range(5):
            make_talk(BotFactory(business=business))
        few = count_queries(owner, page("bot", name="changelist"))
        for _ in range(20):
            make_talk(BotFactory(business=business))
        assert count_queries(owner, page("bot", name="changelist")) == few


def test_job_without_a_conversation_leads_nowhere(agent: Client, business: Business) -> None:
    job: Job = make_life(JobState.QUEUED, business=business, topic="conversation:nonsense")
    assert agent.get(reverse("admin:chats_conversation_of_job", args=[job.pk])).status_code == 404
