"""Somebody in front of a page that carries the widget."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Locator, Page

PATIENCE_S: Final = 15.0
WATCH_POLICY = """
window.__violations = [];
document.addEventListener('securitypolicyviolation', (event) => {
  __violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
WATCH_WORDS = """
() => {
  window.__lengths = [];
  const log = document.querySelector('mia-chat').shadowRoot.querySelector('[role=log]');
  new MutationObserver(() => {
    const bubbles = log.querySelectorAll('.assistant .bubble[dir]');
    const text = bubbles.length ? bubbles[bubbles.length - 1].textContent : '';
    if (text.length !== __lengths.at(-1)) __lengths.push(text.length);
  }).observe(log, {subtree: true, childList: true, characterData: true});
}
"""


FOCUSED = """
() => {
  const node = document.activeElement, inner = node.shadowRoot ? node.shadowRoot.activeElement : node;
  return inner.className || inner.tagName;
}
"""
WATCH_SPEECH = """
() => {
  window.__spoken = [];
  const node = document.querySelector('mia-chat').shadowRoot.querySelector('.sr[role=status]');
  const watch = new MutationObserver(() => __spoken.push(node.textContent));
  watch.observe(node, {childList: true, characterData: true, subtree: true});
}
"""


class Visitor:
    """A browser page and the parts of the widget on it."""

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.errors: list[str] = []
        context.add_init_script(WATCH_POLICY)
        self.page: Page = context.new_page()
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(url)
        self.widget: Locator = self.page.locator("mia-chat")
        self.launcher: Locator = self.widget.locator(".fab")
        self.panel: Locator = self.widget.get_by_role("dialog")
        self.log: Locator = self.widget.get_by_role("log")
        self.composer: Locator = self.widget.locator("textarea")
        self.send_button: Locator = self.widget.locator(".go")
        self.answers: Locator = self.log.locator(".assistant .bubble[dir]:visible")
        self.questions: Locator = self.log.locator(".user .bubble")

    def open(self) -> Visitor:
        self.launcher.click()
        self.panel.wait_for()
        return self

    def ask(self, text: str) -> Visitor:
        if not self.panel.is_visible():
            self.open()
        self.composer.fill(text)
        self.composer.press("Enter")
        return self

    def answer(self) -> Locator:
        return self.answers.last

    def until(self, holds: Callable[[], object]) -> None:
        """Waits for something that happens elsewhere: on the platform's side, or in another task of the page."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < deadline, "It never happened."
            self.page.wait_for_timeout(20)

    def wait_until_answered(self) -> str:
        """The whole text of the last answer, once the widget says that it is whole."""
        self.widget.locator("[role=log][aria-busy=false]").wait_for()
        self.answer().wait_for()
        return self.answer().inner_text()

    def watch_words(self) -> None:
        self.page.evaluate(WATCH_WORDS)

    def word_lengths(self) -> list[int]:
        lengths: list[int] = self.page.evaluate("window.__lengths")
        return lengths

    def watch_speech(self) -> None:
        self.page.evaluate(WATCH_SPEECH)

    def spoken(self) -> list[str]:
        """What a screen reader was given to say."""
        spoken: list[str] = self.page.evaluate("window.__spoken")
        return spoken

    def focused(self) -> str:
        """Class, or else tag, of what has the focus; inside the widget where it is there."""
        name: str = self.page.evaluate(FOCUSED)
        return name

    def stored(self) -> dict[str, Any]:
        script = "() => Object.fromEntries(Object.entries(localStorage).map(([k, v]) => [k, JSON.parse(v)]))"
        stored: dict[str, Any] = self.page.evaluate(script)
        return stored

    def problems(self) -> list[str]:
        violations: list[str] = [] if self.page.is_closed() else self.page.evaluate("window.__violations || []")
        return self.errors + violations
