"""Pages of the admin that move by themselves, in Chromium, on a platform that really runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from accounts.models import Business, User
from accounts.tenancy import platform_scope
from chats.models import Bot, ChatLog
from chats.tests.factories import BotFactory, ChatLogFactory
from chats.tests.talks import leave_desk_rows, make_talk, reread
from knowledge.models import Source
from knowledge.tests.factories import add_source, queue, train
from mia.tests.screens import Screen, free_port, running_platform
from miners.choices import JobState, MinerStatus
from miners.leader import Dispatcher
from miners.models import Miner
from miners.tests.factories import make_miner
from miners.tests.lives import make_life

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.browser]
LogIn = Callable[[User], Client]
LIVE = "document.querySelector('[data-state]').dataset.state"


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def platform(transactional_db: None, port: int) -> Iterator[object]:
    with running_platform(port) as process:
        yield process


@pytest.fixture
def show(platform: object, port: int, log_in: LogIn) -> Iterator[Callable[[User], Screen]]:
    """Opens a browser in which somebody is signed in; at the end no page has complained."""
    screens: list[Screen] = []

    def signed_in(user: User) -> Screen:
        cookie = log_in(user).cookies["sessionid"].value
        screens.append(Screen(f"http://127.0.0.1:{port}", cookie))
        return screens[-1]

    yield signed_in
    for screen in screens:
        screen.close()
        assert [text for text in screen.problems if "WebSocket" not in text] == []


@pytest.fixture
def tick() -> Iterator[Callable[[], None]]:
    """One round of the dispatcher, now."""
    dispatcher = Dispatcher()

    def once() -> None:
        for duty in dispatcher._duties:
            duty.due_at = 0.0
        assert dispatcher.tick()

    yield once
    dispatcher._leadership.release()


def heard(miner: Miner, **fields: object) -> None:
    Miner.objects.filter(pk=miner.pk).update(last_active=timezone.now(), **fields)


def cell(miner: Miner, name: str) -> str:
    return f"document.querySelector('[data-miner-id=\"{miner.pk}\"] [data-cell={name}]')?.textContent"


def test_live_page_changes_as_the_network_does(
    root: User, show: Callable[[User], Screen], tick: Callable[[], None]
) -> None:
    screen = show(root)
    screen.go(reverse("admin:network_live"))
    screen.wait_for("!document.querySelector('[data-empty]').hidden")
    assert "/install.sh | sh -s -- --token" in screen.do(lambda page: page.inner_text("[data-empty]"))

    miner, _key = make_miner(name="rtx4090-basel", gpu_name="RTX 4090")
    tick()
    screen.wait_for(f"{cell(miner, 'name')} === 'rtx4090-basel' && {cell(miner, 'status')} === 'idle'")
    screen.wait_for(f"{LIVE} === 'live' && document.querySelector('[data-empty]').hidden")
    screen.do(lambda page: page.evaluate("window.untouched = true"))

    job = make_life(JobState.RUNNING, miner=miner)
    make_life(JobState.QUEUED)
    heard(miner, status=MinerStatus.BUSY, job_count=7)
    tick()
    screen.wait_for(f"{cell(miner, 'status')} === 'busy' && {cell(miner, 'jobs')} === '{str(job.pk)[:8]}'")
    screen.wait_for(f"{cell(miner, 'slots')} === '1/4' && {cell(miner, 'job_count')} === '7'")
    screen.wait_for("document.querySelector('[data-figure=queued_chat]').textContent === '1'")
    screen.wait_for("document.querySelector('[data-figure=running]').textContent === '1'")
    screen.wait_for(f"/^(now|[0-9]+ s ago)$/.test({cell(miner, 'heard')})")

    Miner.objects.filter(pk=miner.pk).update(last_active=None)
    tick()
    screen.wait_for(f"!document.querySelector('[data-miner-id=\"{miner.pk}\"]')")
    assert screen.do(lambda page: page.evaluate("window.untouched")) is True


def test_lost_connection_is_said_and_mended(
    root: User, port: int, platform: object, show: Callable[[User], Screen], tick: Callable[[], None]
) -> None:
    make_miner()
    screen = show(root)
    screen.go(reverse("admin:network_live"))
    screen.wait_for(f"{LIVE} !== 'lost'")
    tick()
    screen.wait_for(f"{LIVE} === 'live'")
    platform.kill()  # type: ignore[attr-defined]
    screen.wait_for(f"{LIVE} === 'lost' && document.querySelector('#network').classList.contains('mia-is-frozen')")
    assert "Connection lost" in screen.do(lambda page: page.inner_text("[data-live-text]"))
    with running_platform(port):
        tick()
        screen.wait_for(f"{LIVE} === 'live'")
    screen.problems.clear()


def test_silent_dispatcher_is_said(root: User, show: Callable[[User], Screen], tick: Callable[[], None]) -> None:
    make_miner()
    screen = show(root)
    tick()
    screen.go(reverse("admin:network_live"))
    screen.wait_for(f"{LIVE} === 'live'")
    screen.wait_for(f"{LIVE} === 'stale'")


def test_business_staff_are_refused_the_socket(bob: User, show: Callable[[User], Screen]) -> None:
    screen = show(bob)
    screen.go(reverse("admin:index"))
    closed = screen.do(
        lambda page: page.evaluate(
            "() => new Promise((done) => { const socket = new WebSocket(`ws://${location.host}/ws/network/`);"
            " socket.onmessage = () => done('message'); socket.onclose = (event) => done(event.code); })"
        )
    )
    assert closed == 1008


def test_open_transcript_follows_the_talk(bob: User, bot_of_alice: Bot, show: Callable[[User], Screen]) -> None:
    talk = make_talk(bot_of_alice)
    screen = show(bob)
    screen.go(reverse("admin:chats_conversation_change", args=[talk.pk]))
    ChatLogFactory(conversation=talk, message="And what does a chain cost?")
    screen.wait_for("document.querySelector('[data-part=lines]').innerText.includes('And what does a chain cost?')")

    screen.do(lambda page: page.click("text=Take over"))
    screen.do(lambda page: page.fill("[data-composer] textarea", "45 francs, says Bob."))
    screen.do(lambda page: page.press("[data-composer] textarea", "Control+Enter"))
    screen.wait_for("document.querySelector('[data-part=lines]').innerText.includes('45 francs, says Bob.')")
    assert reread(talk).assignee == bob
    with platform_scope():
        assert ChatLog.objects.filter(conversation=talk, message="45 francs, says Bob.", author=bob).exists()


@pytest.fixture
def bot_of_alice(business: object) -> Bot:
    bot: Bot = BotFactory(business=business, is_default=True)
    return bot


def test_bot_form_counts_words(alice: User, bot_of_alice: Bot, show: Callable[[User], Screen]) -> None:
    screen = show(alice)
    screen.go(reverse("admin:chats_bot_change", args=[bot_of_alice.pk]))
    screen.do(lambda page: page.fill("[name=business_description]", "one two three"))
    screen.wait_for("document.body.innerText.includes('3 words, about 4 tokens')")
    screen.do(lambda page: page.fill("[name=business_description]", "word " * 9000))
    screen.wait_for("document.body.innerText.includes('it can read at once')")


def test_a_dangerous_button_asks_first(root: User, show: Callable[[User], Screen]) -> None:
    miner, _key = make_miner()
    screen = show(root)
    screen.go(reverse("admin:miners_miner_change", args=[miner.pk]))
    screen.do(lambda page: page.click("button[popovertarget=ask-ban]"))
    screen.do(lambda page: page.fill("#ask-ban [name=words]", "sends noise"))
    screen.do(lambda page: page.click("#ask-ban form button[data-variant=danger]"))
    screen.wait_for("document.body.innerText.includes('is now banned')")
    miner.refresh_from_db()
    assert "sends noise" in miner.trust_reason


def test_sources_are_followed_while_they_are_trained(
    business: Business, alice: User, show: Callable[[User], Screen]
) -> None:
    source = add_source(business, kind="text", title="House rules", text="We open at nine.")
    queue(business, source)
    screen = show(alice)
    screen.go("/admin/knowledge/source/")
    chip = "document.querySelector('[data-source] .mia-chip').textContent"
    screen.wait_for(f"{chip} === 'Waiting for training'")
    with platform_scope():
        Source.objects.update(status="training", progress_done=3, progress_total=9)
    screen.wait_for("document.querySelector('[data-source] small').textContent === '3 of 9'")
    train(business)
    screen.wait_for(f"{chip} === 'Trained'")


def test_two_agents_work_the_inbox_together(
    show: Callable[[User], Screen], business: Business, alice: User, bob: User
) -> None:
    talk = make_talk(BotFactory(business=business), visitor_name="Ana Keller")
    leave_desk_rows(talk)
    lists, first, second = show(bob), show(alice), show(bob)
    lists.go(reverse("admin:chats_conversation_changelist"))
    lists.wait_for("document.body.innerText.includes('Ana Keller')")
    for screen in (first, second):
        screen.go(reverse("admin:chats_conversation_change", args=[talk.pk]))
    second.wait_for(f"document.body.innerText.includes('{alice.get_short_name()} is looking, too')")
    first.do(lambda page: page.get_by_role("button", name="Take over").first.click())
    first.do(lambda page: page.locator("[data-composer] textarea").press_sequentially("/ho"))
    first.wait_for("document.querySelectorAll('[data-canned] li').length === 1")
    first.do(lambda page: page.keyboard.press("Enter"))
    first.wait_for("document.querySelector('[data-composer] textarea').value === 'Nine to six, Ana Keller.'")
    second.wait_for(f"document.body.innerText.includes('{alice.get_short_name()} is writing')")
    first.do(lambda page: page.keyboard.press("Control+Enter"))
    for screen in (first, second):
        screen.wait_for("document.querySelector('[data-part=lines]').innerText.includes('Nine to six, Ana Keller.')")
    lists.wait_for("document.body.innerText.includes('Nine to six, Ana Keller.')")
