"""Every page of the admin: that it opens, that each role is shown its own, and what it costs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin
from django.db import connection, models
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django_rq import get_connection
from rq import Queue
from rq.serializers import JSONSerializer

from accounts.choices import KeyKind
from accounts.models import Business, User
from accounts.services import record_audit
from accounts.tenancy import platform_scope
from accounts.tests.factories import ApiKeyFactory, InvitationFactory, JwtIssuerFactory, MembershipFactory, UserFactory
from accounts.tests.tokens import public_pem, rsa_key
from chats.canaries import canary_prompt
from chats.choices import Status
from chats.models import Bot, Conversation
from chats.tests.factories import BotFactory, ConversationFactory, WebhookEndpointFactory
from chats.tests.talks import ANSWER, leave_desk_rows, leave_everything, leave_safety_rows, make_talk
from chats.webhooks.services import ping
from gpu_miner.engines.extractive.passages import material_of
from gpu_miner.engines.extractive.reply import compose
from knowledge.tests.factories import add_source, train
from knowledge.tests.pages import leave_questions
from mia.lib.redis import sync_redis
from miners.choices import JobState, Trust
from miners.leader import SNAPSHOT_KEY
from miners.models import Canary, CanaryTrial, Job, NetworkSample
from miners.network import Latency, snapshot
from miners.services import create_enrolment_token
from miners.tests.factories import make_miner
from miners.tests.lives import make_life

pytestmark = pytest.mark.django_db
LogIn = Callable[[User], Client]
REGISTERED = sorted(admin.site._registry, key=lambda model: model._meta.label)
NETWORK = {"miners.Miner", "miners.EnrolmentToken", "miners.Canary", "miners.CanaryTrial", "accounts.User"}
MANAGED = {
    "accounts.ApiKey", "accounts.Invitation", "accounts.JwtIssuer", "accounts.AuditEntry", "chats.WebhookEndpoint",
    "chats.WebhookDelivery",
}  # fmt: skip


def address(model: type[models.Model], page: str, *args: object) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{page}", args=args)


def seen(response: Any) -> str:
    assert response.status_code == 200
    return str(response.content.decode())


def plain(response: Any) -> str:
    """The words of a page, as a person reads them."""
    body = re.sub(r"<(script|style).*?</\1>", "", seen(response), flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body))


@pytest.fixture
def full(request: pytest.FixtureRequest, root: User, business: Business, alice: User) -> Business:
    """A business with a row in every table of the admin, and a network that works for it.

    What it has taught its bots is there for pages about that alone: a training costs more than all the rest.
    """
    bot = BotFactory(business=business, name="Dora", is_default=True)
    miner, _key = make_miner()
    talk = make_talk(bot, miner=miner, visitor_name="Ana Keller")
    leave_everything(talk)
    leave_desk_rows(talk)
    leave_safety_rows(talk)
    make_life(JobState.FAILED, miner=miner, business=business)
    canary = Canary.objects.create(question="What does the moon cost?", facts="It costs 7.", expected="7")
    CanaryTrial.objects.create(job=make_life(JobState.COMPLETED, miner=miner), canary=canary, miner=miner, passed=True)
    create_enrolment_token(name="Basel", trust=Trust.PROBATION, max_uses=1, created_by=root)
    ApiKeyFactory(business=business)
    InvitationFactory(business=business)
    JwtIssuerFactory(business=business, public_key_pem=public_pem(rsa_key()))
    endpoint = WebhookEndpointFactory(business=business)
    with platform_scope():
        ping(endpoint=endpoint, now=timezone.now())
    model = getattr(request.node, "callspec", None) and request.node.callspec.params.get("model")
    if model is not None and model._meta.app_label == "knowledge":
        add_source(business, kind="text", title="House rules", text="We open at nine.")
        train(business)
        leave_questions(business.pk, bot.pk)
    with platform_scope():
        record_audit(actor=root, business=business, action="changed", target=business, changes={"name": ["a", "b"]})
    return business


def first_row(model: type[models.Model], business: Business | None = None) -> models.Model:
    with platform_scope():
        rows = model._default_manager.all()
        if business is not None and model is Business:
            rows = rows.filter(pk=business.pk)
        elif business is not None:
            rows = rows.filter(business_id=business.pk)
        row = rows.first()
    assert row is not None, model
    return row


class TestEveryPage:
    @pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
    def test_opens_for_a_superuser(self, root: User, log_in: LogIn, full: Business, model: type[models.Model]) -> None:
        browser, model_admin = log_in(root), admin.site._registry[model]
        assert browser.get(address(model, "changelist")).status_code == 200
        assert browser.get(address(model, "changelist"), {"q": "a"}).status_code == 200
        assert browser.get(address(model, "change", first_row(model).pk)).status_code == 200
        may_add = model_admin.add_right is not None  # type: ignore[attr-defined]
        assert browser.get(address(model, "add")).status_code == (200 if may_add else 403)

    @pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
    def test_opens_for_an_owner_unless_it_is_the_platform_s(
        self, alice: User, log_in: LogIn, full: Business, model: type[models.Model]
    ) -> None:
        browser = log_in(alice)
        is_theirs = model._meta.label not in NETWORK
        assert browser.get(address(model, "changelist")).status_code == (200 if is_theirs else 403)
        row = first_row(model, full) if is_theirs else first_row(model)
        assert browser.get(address(model, "change", row.pk)).status_code in ({200} if is_theirs else {403, 404})

    @pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
    def test_opens_for_an_agent_where_agents_work(
        self, bob: User, log_in: LogIn, full: Business, model: type[models.Model]
    ) -> None:
        is_theirs = model._meta.label not in NETWORK | MANAGED
        assert log_in(bob).get(address(model, "changelist")).status_code == (200 if is_theirs else 403)

    @pytest.mark.parametrize("model", REGISTERED, ids=lambda model: model._meta.label)
    def test_shows_a_stranger_nothing(
        self, charlie: User, log_in: LogIn, full: Business, model: type[models.Model]
    ) -> None:
        browser = log_in(charlie)
        row = first_row(model) if model._meta.label in NETWORK else first_row(model, full)
        for page in ("change", "delete", "history"):
            assert browser.get(address(model, page, row.pk)).status_code in {403, 404}
        listed = browser.get(address(model, "changelist"))
        assert address(model, "change", row.pk) not in listed.content.decode()

    @pytest.mark.parametrize("path", ["", "network/live/", "miners/job/", "chats/conversation/", "rq/", "search/?s=a"])
    def test_asks_who_it_is_first(self, path: str) -> None:
        response = Client().get(f"/admin/{path}")
        assert response.status_code == 302
        assert "/admin/login/" in response["Location"]

    def test_raw_tables_are_not_there(self) -> None:
        labels = {model._meta.label for model in REGISTERED}
        assert not labels & {
            "miners.NetworkSample",
            "miners.TenantShare",
            "miners.Attempt",
            "chats.ChatLog",
            "auth.Group",
        }

    @pytest.mark.parametrize("who", ["root", "alice"])
    def test_has_no_inline_script_of_ours(
        self, request: pytest.FixtureRequest, log_in: LogIn, full: Business, who: str
    ) -> None:
        browser = log_in(request.getfixturevalue(who))
        pages = [
            reverse("admin:index"),
            *(address(model, "change", first_row(model, full).pk) for model in (Conversation, Bot, Job)),
        ]
        for page in pages:
            scripts = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", seen(browser.get(page)))
            assert [script for script in scripts if "application/json" not in script] == []
            assert not re.search(r"\son(click|load|error|submit)=", seen(browser.get(page)))

    def test_policy_forbids_what_comes_from_elsewhere(self, root: User, log_in: LogIn, full: Business) -> None:
        text = seen(log_in(root).get(reverse("admin:network_live")))
        assert re.findall(r'(?:src|href)="(?:https?:)?//(?!testserver)[^"]*"', text) == []


class TestSidebar:
    def links(self, browser: Client) -> list[str]:
        text = seen(browser.get(reverse("admin:index")))
        return re.findall(r'<a href="([^"]+)" class="flex h-\[38px\]', text)

    def test_platform_staff_have_everything(self, root: User, log_in: LogIn) -> None:
        links = self.links(log_in(root))
        for name in (
            "admin:network_live",
            "admin:miners_miner_changelist",
            "django_rq:home",
            "health-detailed",
            "docs",
        ):
            assert reverse(name) in links

    def test_agent_has_support_and_no_network(self, bob: User, log_in: LogIn) -> None:
        links = self.links(log_in(bob))
        assert reverse("admin:chats_conversation_changelist") in links
        assert reverse("admin:miners_job_changelist") in links
        for name in (
            "admin:network_live",
            "admin:miners_miner_changelist",
            "django_rq:home",
            "admin:accounts_apikey_changelist",
        ):
            assert reverse(name) not in links

    def test_owner_has_the_team(self, alice: User, log_in: LogIn) -> None:
        links = self.links(log_in(alice))
        for name in ("invitation", "apikey", "jwtissuer", "auditentry", "membership"):
            assert reverse(f"admin:accounts_{name}_changelist") in links

    @pytest.mark.parametrize("who", ["root", "alice", "bob", "victor"])
    def test_every_link_of_it_opens(
        self, request: pytest.FixtureRequest, log_in: LogIn, full: Business, who: str
    ) -> None:
        browser = log_in(request.getfixturevalue(who))
        for link in self.links(browser):
            assert browser.get(link).status_code == 200, link

    def test_it_counts_who_waits_in_ones_own_business(
        self, alice: User, charlie: User, log_in: LogIn, business: Business
    ) -> None:
        ConversationFactory(bot=BotFactory(business=business), status=Status.WAITING)
        badge = re.compile(r"Conversations\s*1\b")
        assert badge.search(plain(log_in(alice).get(reverse("admin:index"))))
        assert not badge.search(plain(log_in(charlie).get(reverse("admin:index"))))

    def test_somebody_without_a_business_is_told_what_to_do(self, log_in: LogIn) -> None:
        assert "You belong to no business yet" in plain(log_in(UserFactory()).get(reverse("admin:index")))


class TestOverview:
    def test_business_staff_see_their_day(self, bob: User, log_in: LogIn, full: Business) -> None:
        text = plain(log_in(bob).get(reverse("admin:index")))
        assert "Conversations today 1" in text
        assert "Answers by the AI today 1 100 % of all; 0 by people" in text
        assert "First word after 400 ms median of today" in text
        assert "Failed answers today 1" in text
        assert "Ana Keller" in text

    def test_they_see_nothing_of_anybody_else_s(self, charlie: User, log_in: LogIn, full: Business) -> None:
        text = plain(log_in(charlie).get(reverse("admin:index")))
        assert "Conversations today 0" in text
        assert "Failed answers today 0" in text
        assert "Ana Keller" not in text
        assert ANSWER not in text

    def test_day_begins_at_midnight_of_the_business(self, alice: User, log_in: LogIn, business: Business) -> None:
        """Of two places half a day apart, one is past noon: twelve hours ago was today there, yesterday elsewhere."""
        started = timezone.now() - timedelta(hours=12)
        ConversationFactory(bot=BotFactory(business=business), created_at=started)
        shown = set()
        for zone in ("Etc/GMT", "Etc/GMT-12"):
            with platform_scope():
                Business.objects.filter(pk=business.pk).update(time_zone=zone)
            found = re.search(r"Conversations today (\d)", plain(log_in(alice).get(reverse("admin:index"))))
            assert found
            shown.add(found[1])
        assert shown == {"0", "1"}

    def test_platform_staff_see_the_network(self, root: User, log_in: LogIn, full: Business) -> None:
        make_miner(name="liar", trust=Trust.SUSPECT, trust_reason="2 canaries failed")
        text = plain(log_in(root).get(reverse("admin:index")))
        assert "Jobs today 2" in text or "Jobs today 3" in text
        assert "Failed today 1" in text
        assert "liar 2 canaries failed" in text
        assert "The dispatcher is silent" in text

    def test_live_figures_come_from_the_dispatcher(self, root: User, log_in: LogIn) -> None:
        make_miner()
        remember_snapshot()
        text = plain(log_in(root).get(reverse("admin:index")))
        assert "Miners online 1 1 idle · 0 busy" in text
        assert "The dispatcher is silent" not in text

    def test_new_business_is_led_through_its_first_steps(self, alice: User, log_in: LogIn, business: Business) -> None:
        browser = log_in(alice)
        assert self.open_steps(browser) == ["Create a bot", "Teach it", "Make a key", "Copy the snippet"]
        bot = BotFactory(business=business, business_description="")
        assert self.open_steps(browser) == ["Teach it", "Make a key", "Copy the snippet"]
        with platform_scope():
            Bot.objects.filter(pk=bot.pk).update(business_description="A tyre costs 30 francs.")
        ApiKeyFactory(business=business, kind=KeyKind.PUBLISHABLE)
        assert self.open_steps(browser) == ["Copy the snippet"]
        make_talk(bot)
        assert self.open_steps(browser) == []

    def test_first_steps_are_not_for_agents(self, bob: User, log_in: LogIn) -> None:
        assert self.open_steps(log_in(bob)) == []

    @pytest.mark.parametrize("who", ["root", "alice"])
    def test_it_costs_as_many_queries_with_25_of_everything_as_with_5(
        self, request: pytest.FixtureRequest, log_in: LogIn, full: Business, who: str
    ) -> None:
        browser = log_in(request.getfixturevalue(who))
        bot = BotFactory(business=full)
        costs = []
        for number in (5, 20):
            for _ in range(number):
                make_talk(bot, miner=make_miner(trust=Trust.SUSPECT)[0])
                make_life(JobState.FAILED, miner=make_miner()[0], business=full)
            with CaptureQueriesContext(connection) as queries:
                browser.get(reverse("admin:index"))
            costs.append(len(queries))
        assert costs[0] == costs[1]
        assert costs[0] < 35

    def open_steps(self, browser: Client) -> list[str]:
        text = seen(browser.get(reverse("admin:index")))
        return re.findall(r'<li class=""><div class="mia-line">\s*<span><span class="mia-strong">([^<]+)', text)


def remember_snapshot() -> None:
    """What the dispatcher does each second."""
    with platform_scope():
        state = snapshot(now=timezone.now(), latency=Latency(12.0, 40.0, 300.0, 900.0)).as_dict()
    sync_redis().set(SNAPSHOT_KEY, json.dumps(state))


class TestLivePage:
    def test_is_for_platform_staff(self, root: User, alice: User, log_in: LogIn) -> None:
        assert log_in(root).get(reverse("admin:network_live")).status_code == 200
        assert log_in(alice).get(reverse("admin:network_live")).status_code == 403

    def test_opens_with_the_present_state_and_the_last_hour(self, root: User, log_in: LogIn) -> None:
        make_miner(name="</script><b>")
        remember_snapshot()
        for minutes in (1, 59, 61):
            sample_at(timezone.now() - timedelta(minutes=minutes))
        text = seen(log_in(root).get(reverse("admin:network_live")))
        state = embedded(text, "network-snapshot")
        assert [row["name"] for row in state["miners"]] == ["</script><b>"]
        assert len(embedded(text, "network-history")) == 2
        assert "</script><b>" not in text

    def test_tells_how_to_enrol_the_first_miner(self, root: User, log_in: LogIn) -> None:
        text = seen(log_in(root).get(reverse("admin:network_live")))
        assert reverse("admin:miners_enrolmenttoken_add") in text
        assert "curl -sSL http://testserver/install.sh | sh -s -- --token" in text


def sample_at(moment: Any) -> None:
    counts = dict.fromkeys(["online", "idle", "busy", "queued_chat", "queued_api", "queued_idle", "running"], 1)
    NetworkSample.objects.create(at=moment, tokens_per_second=10.0, **counts)


def embedded(text: str, name: str) -> Any:
    found = re.search(rf'<script id="{name}" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


class TestSearch:
    def found(self, browser: Client, term: str, *, rows: bool = True) -> str:
        return plain(browser.get(reverse("admin:search"), {"s": term, **({"extended": "1"} if rows else {})}))

    def test_finds_pages_by_their_name(self, root: User, bob: User, log_in: LogIn) -> None:
        assert "Enrolment tokens" in self.found(log_in(root), "enrol", rows=False)
        assert "Enrolment tokens" not in self.found(log_in(bob), "enrol", rows=False)

    def test_finds_rows_of_ones_own_business_only(
        self, bob: User, charlie: User, log_in: LogIn, full: Business
    ) -> None:
        assert "Ana Keller" in self.found(log_in(bob), "keller")
        assert "Ana Keller" not in self.found(log_in(charlie), "keller")

    def test_forgets_at_once_what_may_no_longer_be_seen(self, bob: User, log_in: LogIn, full: Business) -> None:
        browser = log_in(bob)
        assert "Ana Keller" in self.found(browser, "keller")
        with platform_scope():
            bob.memberships.all().delete()
        MembershipFactory(user=bob)
        assert "Ana Keller" not in self.found(browser, "keller")

    @pytest.mark.parametrize("term", ["", " ", "a", "%", "' OR 1=1", "x" * 500, "0" * 8, "\\"])
    def test_takes_any_term(self, root: User, log_in: LogIn, full: Business, term: str) -> None:
        response = log_in(root).get(reverse("admin:search"), {"s": term, "extended": "1"})
        assert response.status_code == 200


class TestTaskQueues:
    PAGES = (
        "home", "jobs", "queue_details", "finished_jobs", "failed_jobs", "scheduled_jobs", "started_jobs",
        "deferred_jobs", "workers", "clear", "requeue_all", "delete_failed_jobs",
    )  # fmt: skip

    @pytest.mark.parametrize("name", PAGES)
    def test_are_for_superusers(self, root: User, alice: User, log_in: LogIn, name: str) -> None:
        page = reverse(f"django_rq:{name}", args=[] if name == "home" else [0])
        assert log_in(root).get(page).status_code == 200
        assert log_in(alice).get(page).status_code == 403

    def test_a_task_is_shown_and_deleted(self, root: User, log_in: LogIn) -> None:
        browser = log_in(root)
        queue = Queue(connection=get_connection(), serializer=JSONSerializer)
        task = queue.enqueue("accounts.tasks.no_such_task", 7)
        assert task.id[:8] in seen(browser.get(reverse("django_rq:jobs", args=[0])))
        assert "accounts.tasks.no_such_task" in seen(browser.get(reverse("django_rq:job_detail", args=[0, task.id])))
        chosen = {"action": "delete", "_selected_action": [task.id]}
        assert task.id in seen(browser.post(reverse("django_rq:confirm_action", args=[0]), chosen))
        browser.post(reverse("django_rq:actions", args=[0]), {"action": "delete", "job_ids": [task.id]})
        assert queue.count == 0

    def test_have_one_door(self, alice: User, log_in: LogIn) -> None:
        for path in ("/admin/django_rq/", "/admin/rq/stats.json", "/admin/rq/metrics"):
            assert log_in(alice).get(path).status_code == 404


class TestCanaries:
    shipped = import_module("miners.migrations.0002_first_canaries").CANARIES

    def test_enough_are_shipped_to_leave_probation_without_repeating_one(self) -> None:
        assert len({question for question, _facts, _expected in self.shipped}) >= 12

    @pytest.mark.parametrize(("question", "facts", "expected"), shipped)
    def test_each_can_be_answered_by_quoting_and_not_by_guessing(
        self, question: str, facts: str, expected: str
    ) -> None:
        reply = compose(material_of(canary_prompt(facts=facts, question=question)["messages"]))
        assert expected.casefold() in reply.casefold()
        assert expected.casefold() not in question.casefold()


def test_signing_in_leads_to_the_overview(root: User) -> None:
    response = Client().post(
        reverse("admin:login"), {"username": root.email, "password": "correct horse battery staple"}, follow=True
    )
    assert response.redirect_chain[-1][0] == reverse("admin:index")


def test_environment_is_named_wherever_it_is_not_production(root: User, log_in: LogIn) -> None:
    assert settings.APP_ENV in plain(log_in(root).get(reverse("admin:index")))
