"""What is lost comes back: connections, pages, tokens, replies; never a word missing, never one twice."""

from __future__ import annotations

import pytest

from chats.tests.browser.conftest import Visit
from chats.tests.browser.mock_platform import KEY, MockPlatform
from chats.tests.browser.records import Answer, Refusal

pytestmark = pytest.mark.browser

WORDS = [f"wörd{number} 🌿 " for number in range(40)]
FULL_STORAGE = "return new Proxy({}, {set() { throw new DOMException('full'); }, get() {}})"
PLAIN = "".join(WORDS).strip()


@pytest.mark.parametrize(("drops", "down_s"), [(1, 0.0), (4, 0.0), (1, 1.5)])
def test_a_lost_connection_resumes_with_the_exact_text(
    visit: Visit, platform: MockPlatform, drops: int, down_s: float
) -> None:
    platform.answers = [Answer(WORDS, delay_s=0.04, drop_after=5, drops=drops, down_s=down_s)]
    visitor = visit().open()
    visitor.watch_words()
    assert visitor.ask("Hello?").wait_until_answered() == PLAIN
    assert visitor.word_lengths() == sorted(visitor.word_lengths())
    resumed = platform.seen("GET", "/chat/.+/events")[1:]
    assert len(resumed) >= drops
    assert resumed[0].headers["Last-Event-ID"].startswith("1.")


def test_an_answer_that_ended_while_away_is_shown_whole(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS, delay_s=0.01, drop_after=3, down_s=2.0)]
    assert visit().ask("Hello?").wait_until_answered() == PLAIN


def test_a_reset_during_a_lost_connection_is_followed(visit: Visit, platform: MockPlatform) -> None:
    answer = Answer(["Old "] * 3, drop_after=2, reset_after=3, restart_pieces=["Brand ", "new."], delay_s=0.05)
    platform.answers = [answer]
    assert visit().ask("Hello?").wait_until_answered() == "Brand new."


def test_a_gap_is_read_again_from_the_start(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["One ", "two ", "three."], delay_s=0.4)]
    visitor = visit().ask("Count")
    visitor.answer().get_by_text("One").wait_for()
    conversation = platform.only_conversation()
    job_id = next(iter(conversation.jobs))
    stray = {"type": "delta", "job_id": job_id, "attempt": 1, "offset": 900, "text": "stray"}
    platform.publish(conversation, stray)
    conversation.events.remove(stray)
    assert visitor.wait_until_answered() == "One two three."


def test_a_reload_in_the_middle_goes_on_with_the_answer(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS, delay_s=0.06)]
    visitor = visit().ask("Hello?")
    visitor.answer().get_by_text("wörd5").wait_for()
    visitor.page.reload()
    visitor.panel.wait_for()
    visitor.widget.locator(".go[aria-label=Stop]").wait_for()
    assert visitor.wait_until_answered() == PLAIN
    assert visitor.questions.all_inner_texts() == ["Hello?"]
    assert platform.count("POST", "/chat") == 1


def test_the_conversation_is_still_there_after_a_reload(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("One").wait_until_answered()
    visitor.ask("Two").wait_until_answered()
    visitor.launcher.click()
    visitor.page.reload()
    visitor.open()
    visitor.questions.nth(1).wait_for()
    assert visitor.log.locator(".bubble[dir]").all_inner_texts() == [
        platform.first_message, "One", "You said: One", "Two", "You said: Two",
    ]  # fmt: skip


def test_an_expired_stream_token_is_renewed(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS, expire_token=True)]
    assert visit().ask("Hello?").wait_until_answered() == PLAIN
    assert platform.count("POST", "/chat/.+/stream_token") == 1


def test_a_lost_reply_is_asked_for_again_with_the_same_key(visit: Visit, platform: MockPlatform) -> None:
    platform.refusals = [Refusal(0, lose_reply=True), Refusal(502)]
    assert visit().ask("Once only").wait_until_answered() == "You said: Once only"
    keys = {each.headers["Idempotency-Key"] for each in platform.seen("POST", "/chat")}
    assert len(keys) == 1
    assert [each["role"] for each in platform.only_conversation().messages] == ["user", "assistant"]


def test_a_message_on_its_way_survives_a_reload(visit: Visit, platform: MockPlatform) -> None:
    platform.refusals = [Refusal(0, lose_reply=True)] * 2
    platform.answers = [Answer(WORDS, delay_s=0.05)]
    visitor = visit().ask("Just before leaving")
    visitor.until(lambda: platform.conversations)
    visitor.page.reload()
    visitor.open()
    assert visitor.wait_until_answered() == PLAIN
    assert visitor.questions.all_inner_texts() == ["Just before leaving"]
    visitor.until(lambda: len(platform.only_conversation().messages) == 2)


def test_an_expired_session_starts_a_new_one(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("One").wait_until_answered()
    platform.conversations.clear()
    assert visitor.ask("Two").wait_until_answered() == "You said: Two"
    assert visitor.stored()[f"mia:{KEY}"]["id"] == platform.only_conversation().id


def test_a_message_written_offline_is_sent_when_back(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit().open()
    visitor.log.locator(".bubble[dir]").wait_for()
    visitor.context.set_offline(True)
    visitor.panel.get_by_text("You are offline").wait_for()
    visitor.ask("From the tunnel")
    visitor.log.locator(".sending").wait_for()
    visitor.context.set_offline(False)
    assert visitor.wait_until_answered() == "You said: From the tunnel"
    assert visitor.panel.get_by_text("You are offline").count() == 0


def test_delete_this_chat_forgets_it_on_this_device(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("My secret").wait_until_answered()
    visitor.panel.locator("summary").click()
    visitor.panel.get_by_role("button", name="Delete this chat").click()
    assert visitor.log.locator(".bubble[dir]").all_inner_texts() == [platform.first_message]
    assert visitor.stored() == {}
    visitor.page.reload()
    visitor.open()
    visitor.log.locator(".bubble[dir]").wait_for()
    assert visitor.questions.count() == 0


def test_two_tabs_share_one_conversation(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    other = visitor.context.new_page()
    other.goto(platform.shop_url)
    other.locator("mia-chat .fab").click()
    other.locator(".bubble").get_by_text(platform.first_message).wait_for()
    visitor.ask("From the first tab").wait_until_answered()
    other.locator(".assistant .bubble").get_by_text("You said: From the first tab").wait_for()
    other.locator("mia-chat textarea").fill("From the second tab")
    other.locator("mia-chat .go").click()
    other.locator(".assistant .bubble").get_by_text("You said: From the second tab").wait_for()
    visitor.page.bring_to_front()
    visitor.questions.nth(1).wait_for()
    visitor.log.get_by_text("You said: From the second tab").wait_for()
    assert len(platform.conversations) == 1


@pytest.mark.parametrize("getter", ["throw new DOMException('denied')", FULL_STORAGE])
def test_forbidden_or_full_storage_does_not_end_the_chat(visit: Visit, platform: MockPlatform, getter: str) -> None:
    visitor = visit()
    visitor.context.add_init_script(f"Object.defineProperty(window, 'localStorage', {{get() {{ {getter}; }}}})")
    visitor.page.reload()
    assert visitor.ask("Still here?").wait_until_answered() == "You said: Still here?"


def test_what_a_person_wrote_while_nobody_followed_is_there_on_opening(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("Is anyone there?").wait_until_answered()
    visitor.launcher.click()
    conversation = platform.only_conversation()
    conversation.mode = "human"
    conversation.say("agent", "I am now.", name="Ana")
    visitor.open()
    visitor.log.locator(".agent").get_by_text("I am now.").wait_for()
    assert visitor.panel.locator(".status").inner_text() == "Our team"
