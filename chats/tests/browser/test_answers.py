"""A visitor asks and reads: streaming, markdown, sources, what is said when it does not work."""

from __future__ import annotations

import re

import pytest

from chats.tests.browser.conftest import Visit
from chats.tests.browser.mock_platform import MockPlatform
from chats.tests.browser.records import Answer, Refusal

pytestmark = pytest.mark.browser

WORDS = [f"word{number} " for number in range(40)]
MARKUP = """node => node.innerHTML.replace(/ (class|title|target|rel|tabindex)="[^"]*"/g, '')"""
PLAIN = "".join(WORDS).strip()


def test_the_answer_appears_word_by_word(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS, delay_s=0.03)]
    visitor = visit().open()
    visitor.watch_words()
    assert visitor.ask("Hello?").wait_until_answered() == PLAIN
    lengths = visitor.word_lengths()
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 10


def test_the_question_is_sent_once_with_key_and_idempotency_key(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("First").wait_until_answered()
    visitor.ask("Second").wait_until_answered()
    first, second = platform.seen("POST", "/chat")
    assert (first.body, second.body["message"]) == ({"message": "First"}, "Second")
    assert second.body["session_id"] == platform.only_conversation().id
    assert second.headers["X-Session-Token"] == platform.only_conversation().token
    assert first.headers["Idempotency-Key"] != second.headers["Idempotency-Key"]


def test_the_greeting_and_name_come_from_the_bot(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit().open()
    assert visitor.log.locator(".bubble[dir]").all_inner_texts() == [platform.first_message]
    assert visitor.panel.get_by_role("heading").inner_text() == "Fern"


def test_markdown_becomes_nodes(visit: Visit, platform: MockPlatform) -> None:
    text = (
        "# Title\nA **bold** and *soft* `code`, [a link](https://example.test/a(b)c).\nnext\n\n"
        "- one\n- two\n  1. deep\n  2. deeper\n\n> quoted\n\n---\n\n"
        "```js\nlet a = '<b>';\n```\nhttps://bare.test/x, end"
    )
    platform.answers = [Answer([text[i : i + 3] for i in range(0, len(text), 3)], delay_s=0.002)]
    visitor = visit().ask("Markdown?")
    visitor.wait_until_answered()
    bubble = visitor.answer()
    assert bubble.evaluate(MARKUP) == (
        "<p><strong>Title</strong></p>"
        "<p>A <strong>bold</strong> and <em>soft</em> <code>code</code>, "
        '<a href="https://example.test/a(b)c">a link</a>.<br>next</p>'
        '<ul><li>one</li><li>two<ol start="1"><li>deep</li><li>deeper</li></ol></li></ul>'
        "<blockquote>quoted</blockquote><hr><pre>let a = '&lt;b&gt;';\n</pre>"
        '<p><a href="https://bare.test/x">https://bare.test/x</a>, end</p>'
    )
    assert bubble.get_by_role("link").first.get_attribute("rel") == "noopener noreferrer nofollow"


def test_marks_that_are_half_written_do_not_flash_by(visit: Visit, platform: MockPlatform) -> None:
    pieces = ["Look: **bo", "ld** and [the p", "age](https://exam", "ple.test) ", "`co", "de`."]
    platform.answers = [Answer(pieces, delay_s=0.25)]
    visitor = visit().open()
    visitor.ask("Go")
    visitor.answer().wait_for()
    shown = set()
    while visitor.send_button.get_attribute("aria-label") == "Stop":
        shown.add(visitor.answer().inner_text())
    assert visitor.answer().inner_text() == "Look: bold and the page code."
    assert not [text for text in shown if re.search(r"[*`\[\]()]", text)]


def test_sources_are_listed_under_the_answer(visit: Visit, platform: MockPlatform) -> None:
    sources: list[dict[str, object]] = [
        {"title": "Delivery", "url": "https://shop.test/delivery", "index": 1},
        {"title": "Bad", "url": "javascript:alert(1)", "index": 2},
        {"title": "Handbook"},
    ]
    platform.answers = [Answer(["Two days [1], [2]."], citations=sources)]
    visitor = visit().ask("How long?")
    visitor.wait_until_answered()
    visitor.log.locator(".chip").nth(2).wait_for()
    assert visitor.log.locator(".chip").all_inner_texts() == ["1 · Delivery", "2 · Bad", "3 · Handbook"]
    hrefs = visitor.log.get_by_role("link").evaluate_all("links => links.map(link => link.href)")
    assert hrefs == ["https://shop.test/delivery", "https://shop.test/delivery"]


def test_an_answer_that_starts_over_replaces_what_was_shown(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["Wrong ", "start"], reset_after=2, restart_pieces=["Right ", "from the ", "start."])]
    visitor = visit().ask("Well?")
    assert visitor.wait_until_answered() == "Right from the start."


def test_an_answer_that_comes_whole_is_shown_whole(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS, whole=True, delay_s=0)]
    assert visit().ask("No stream?").wait_until_answered() == PLAIN


def test_the_place_in_line_is_shown_while_waiting(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["At last."], before_s=1.0, position=4)]
    visitor = visit().ask("Anybody?")
    visitor.log.get_by_text("(4)").wait_for()
    assert visitor.log.locator(".dots").first.is_visible()
    assert visitor.wait_until_answered() == "At last."
    assert visitor.log.get_by_text("(4)").count() == 0


@pytest.mark.parametrize(("status", "code"), [(429, "RATE_LIMITED"), (503, "NO_CAPACITY")])
def test_too_much_is_said_kindly_and_may_be_tried_again(
    visit: Visit, platform: MockPlatform, status: int, code: str
) -> None:
    platform.refusals = [Refusal(status, code, retry_after_s=2)]
    visitor = visit().ask("Me too")
    again = visitor.log.locator(".chip")
    visitor.log.get_by_text("Very busy right now").wait_for()
    assert again.is_disabled()
    assert "(" in again.inner_text()
    again.get_by_text(re.compile(r"^Try again$")).wait_for()
    again.click()
    assert visitor.wait_until_answered() == "You said: Me too"
    assert visitor.questions.all_inner_texts() == ["Me too"]


@pytest.mark.parametrize("status", ["failed", "expired"])
def test_a_job_that_fails_is_said_and_may_be_tried_again(visit: Visit, platform: MockPlatform, status: str) -> None:
    platform.answers = [Answer([], status=status)]
    visitor = visit().ask("Please")
    visitor.log.get_by_text("That did not work").wait_for()
    visitor.log.locator(".chip").click()
    assert visitor.wait_until_answered() == "You said: Please"


def test_no_capacity_while_waiting_is_said(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer([], status="failed", error_code="NO_CAPACITY")]
    visitor = visit().ask("Hello?")
    visitor.log.get_by_text("Very busy right now").wait_for()


def test_stop_cancels_the_job_and_keeps_what_was_said(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(WORDS * 5, delay_s=0.05)]
    visitor = visit().ask("Tell me everything")
    visitor.answer().get_by_text("word3").wait_for()
    visitor.widget.locator(".go[aria-label=Stop]").click()
    visitor.widget.locator(".go[aria-label=Send]").wait_for()
    stopped_at = visitor.answer().inner_text()
    job = next(iter(platform.only_conversation().jobs.values()))
    visitor.until(lambda: job.is_done)
    assert job.is_cancelled
    assert visitor.ask("And now?").wait_until_answered() == "You said: And now?"
    assert visitor.answers.first.inner_text() == stopped_at
    assert platform.count("DELETE", "/job/.+") == 1


def test_a_human_joins_types_and_answers(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.ask("A person, please").wait_until_answered()
    conversation = platform.only_conversation()
    conversation.mode = "human"
    platform.publish(conversation, {"type": "mode", "mode": "human"})
    platform.publish(conversation, {"type": "typing", "role": "agent", "typing": True})
    visitor.log.locator(".dots:visible").wait_for()
    platform.publish(conversation, {"type": "message", **conversation.say("agent", "Hi, **Ana** here.", name="Ana")})
    visitor.log.locator(".agent .bubble strong").wait_for()
    assert visitor.log.locator(".dots:visible").count() == 0
    assert visitor.log.locator(".agent .who").inner_text() == "Ana"
    assert visitor.panel.locator(".status").inner_text() == "Our team"
    visitor.ask("Thank you, Ana")
    visitor.until(lambda: conversation.messages[-1]["content"] == "Thank you, Ana")
    visitor.until(lambda: visitor.log.locator(".sending, .dots:visible").count() == 0)


def test_unread_messages_are_counted_while_closed(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["Slow ", "answer"], before_s=0.6)]
    visitor = visit().ask("Later?")
    visitor.until(lambda: platform.count("GET", "/chat/.+/events"))
    visitor.launcher.click()
    badge = visitor.widget.locator(".badge")
    badge.wait_for()
    assert badge.inner_text() == "1"
    assert visitor.launcher.get_attribute("aria-label") == "Chat (1)"
    visitor.open()
    badge.wait_for(state="hidden")
    assert visitor.wait_until_answered() == "Slow answer"
