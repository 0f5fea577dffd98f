"""The widget as a guest on a page: keyboard, screen readers, phones, policies, size, foreign origins, its own calls."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from chats.tests.browser.conftest import PHONE, Visit
from chats.tests.browser.mock_platform import MockPlatform
from chats.tests.browser.mock_server import STATIC
from chats.tests.browser.records import Answer

pytestmark = pytest.mark.browser

SOURCE = (STATIC / "chats/widget.js").read_text()
ATTACKS = [
    "<img src=x onerror=window.__hacked=1>",
    "<script>window.__hacked=1</script>",
    "<svg/onload=window.__hacked=1>",
    "</p></div><iframe srcdoc='<script>parent.__hacked=1</script>'>",
    "[x](javascript:window.__hacked=1)",
    "[x](JaVaScRiPt:window.__hacked=1)",
    "[x](java\tscript:window.__hacked=1)",
    "[x](data:text/html,<script>alert(1)</script>)",
    "[x](vbscript:msgbox)",
    "[x](blob:https://a/b) [x](file:///etc/passwd) [x](//evil.test) [x](/relative)",
    '[x](https://a.test/"onmouseover="window.__hacked=1)',
    "![x](https://evil.test/pixel.png)",
    "![x](javascript:window.__hacked=1)",
    "`<b>` ```<b>``` **<b>**",
    "```\n<img src=x onerror=window.__hacked=1>\n```",
    "<a href='javascript:window.__hacked=1'>x</a>",
    "<javascript:window.__hacked=1>",
    "<style>*{display:none}</style><link rel=stylesheet href=//evil.test>",
    "&lt;script&gt;window.__hacked=1&lt;/script&gt;",
    "{{constructor.constructor('window.__hacked=1')()}} ${window.__hacked=1}",
    "\u202e\u0000\ufeff<b>\u2028</b>",
    "* [x](javascript:window.__hacked=1)\n> <b>\n# <i onclick=window.__hacked=1>",
]
ALLOWED_TAGS = {"P", "BR", "STRONG", "EM", "CODE", "PRE", "UL", "OL", "LI", "A", "BLOCKQUOTE", "HR", "SPAN", "SUP"}
ALLOWED_ATTRIBUTES = {"href", "title", "target", "rel", "tabindex", "class"}
NODES = """
bubble => [...bubble.querySelectorAll('*')].map(node => [node.tagName, node.href || '', node.getAttributeNames()])
"""
CONTROLS = """
panel => [...panel.getRootNode().querySelectorAll('button, summary, textarea, a')]
  .filter(node => node.checkVisibility())
  .map(node => ({name: node.ariaLabel || node.textContent, box: node.getBoundingClientRect().toJSON()}))
"""
CONTRAST = """
bubble => {
  const style = getComputedStyle(bubble), canvas = new OffscreenCanvas(1, 1).getContext('2d');
  const linear = part => (part /= 255) <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  const light = color => {
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
  };
  const ink = light(style.color);
  return style.backgroundImage.match(/(rgb|oklab|color)\\([^()]*\\)/g).map(light)
    .map(paper => Math.max(paper, ink) / Math.min(paper, ink));
}
"""
LISTEN = """
() => {
  window.__heard = [];
  const note = name => value => __heard.push([name, value && value.content || value]);
  for (const name of ['open', 'close', 'message']) MIA('on', name, note(name));
  MIA('on', 'message', () => { throw new Error('of the page'); });
  MIA('send', 'From the page');
}
"""
RUDE = (
    "* { all: unset !important } mia-chat { display: none !important; position: static } "
    "button { background: red !important }"
)


@pytest.mark.parametrize("whole", [False, True])
def test_hostile_words_stay_words(visit: Visit, platform: MockPlatform, whole: bool) -> None:
    text = "\n\n".join(ATTACKS)
    step = len(text) if whole else 7
    sources = [{"title": "<img src=x onerror=window.__hacked=1>", "url": "javascript:window.__hacked=1", "index": 1}]
    pieces = [text[i : i + step] for i in range(0, len(text), step)]
    platform.answers = [Answer(pieces, delay_s=0.003, citations=sources)]
    platform.first_message = ATTACKS[0]
    visitor = visit().ask(ATTACKS[1])
    visitor.wait_until_answered()
    tags = visitor.answer().evaluate(NODES)
    assert {tag for tag, _, _ in tags} <= ALLOWED_TAGS
    assert {name for _, _, names in tags for name in names} <= ALLOWED_ATTRIBUTES
    assert all(re.match(r"https://a\.test/", href) for _, href, _ in tags if href)
    assert visitor.page.evaluate("window.__hacked") is None
    assert ATTACKS[0] in visitor.answer().inner_text()


def test_hostile_lengths_do_not_freeze_the_page(visit: Visit, platform: MockPlatform) -> None:
    text = "\n".join(
        mark * 4000 for mark in ("*a", "[", "`a``", "_a ", "**a ", "![a](", "> ", "- ", "#", " ", "https://a.")
    )
    platform.answers = [Answer([text], delay_s=0)]
    visitor = visit().ask("Break")
    visitor.wait_until_answered()
    assert visitor.page.evaluate("performance.now() < 15000")


def test_a_conversation_by_keyboard_alone(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.launcher.wait_for()
    visitor.page.keyboard.press("Tab")
    visitor.page.keyboard.press("Tab")
    assert visitor.focused() == "fab"
    visitor.page.keyboard.press("Enter")
    assert visitor.focused() == "TEXTAREA"
    visitor.page.keyboard.type("Line one")
    visitor.page.keyboard.press("Shift+Enter")
    visitor.page.keyboard.type("line two")
    visitor.page.keyboard.press("Enter")
    assert visitor.wait_until_answered() == "You said: Line one\nline two"
    assert visitor.focused() == "TEXTAREA"
    visitor.page.keyboard.press("Escape")
    assert visitor.panel.is_hidden()
    assert visitor.focused() == "fab"


def test_tab_stays_within_the_open_widget(visit: Visit) -> None:
    visitor = visit().open()
    seen = []
    for _ in range(12):
        visitor.page.keyboard.press("Tab")
        seen.append(visitor.focused())
    assert set(seen) == {"icon", "log", "TEXTAREA", "fab"}
    visitor.page.keyboard.press("Shift+Tab")
    assert visitor.focused() in set(seen)


def test_escape_closes_the_menu_first_and_focus_returns_to_the_opener(visit: Visit) -> None:
    visitor = visit()
    visitor.launcher.wait_for()
    visitor.page.locator("#before").focus()
    visitor.page.evaluate("MIA('open')")
    menu = visitor.panel.locator("summary")
    menu.focus()
    visitor.page.keyboard.press("Enter")
    assert visitor.panel.locator(".menu").is_visible()
    visitor.page.keyboard.press("Escape")
    assert visitor.panel.locator(".menu").is_hidden()
    assert visitor.panel.is_visible()
    visitor.page.keyboard.press("Escape")
    assert visitor.panel.is_hidden()
    assert visitor.page.evaluate("document.activeElement.id") == "before"


def test_screen_readers_hear_the_finished_answer_once(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["It ", "takes ", "**two** ", "days."], delay_s=0.15)]
    visitor = visit().open()
    visitor.watch_speech()
    visitor.ask("How long?").wait_until_answered()
    visitor.until(visitor.spoken)
    visitor.ask("Really?").wait_until_answered()
    visitor.until(lambda: len(visitor.spoken()) == 2)
    assert visitor.spoken() == ["Fern: It takes two days.", "Fern: You said: Really?"]
    assert visitor.log.get_attribute("aria-live") == "off"


def test_everything_that_can_be_used_has_a_name_and_is_large_enough(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["Yes."], citations=[{"title": "Help", "url": "https://shop.test/help", "index": 1}])]
    visitor = visit()
    visitor.ask("Well?").wait_until_answered()
    visitor.log.locator(".chip").wait_for()
    for control in visitor.panel.evaluate(CONTROLS):
        assert control["name"].strip()
        assert min(control["box"]["width"], control["box"]["height"]) >= 24, control


@pytest.mark.parametrize("color", ["#2f6b4f", "#f2c94c", "#ff5a5f", "#0a0a0a", "#ffffff", "#7d7d7d", "#1f6feb"])
def test_text_is_readable_on_any_colour(visit: Visit, platform: MockPlatform, color: str) -> None:
    platform.look["color"] = color
    visitor = visit().ask("Readable?")
    visitor.wait_until_answered()
    assert min(visitor.questions.first.evaluate(CONTRAST)) >= 4.5


@pytest.mark.parametrize(("scheme", "paper"), [("light", "rgb(255, 255, 255)"), ("dark", "rgb(33, 36, 43)")])
def test_it_follows_the_visitors_colour_scheme(visit: Visit, scheme: str, paper: str) -> None:
    visitor = visit(color_scheme=scheme).open()
    visitor.log.locator(".greeting").wait_for()
    bubble = visitor.log.locator(".greeting .bubble")
    assert bubble.evaluate("node => getComputedStyle(node).backgroundColor") == paper


def test_a_phone_gets_the_whole_screen(visit: Visit, platform: MockPlatform, tmp_path: Path) -> None:
    visitor = visit(viewport=PHONE, has_touch=True, is_mobile=True)
    visitor.ask("On the go").wait_until_answered()
    assert visitor.panel.bounding_box() == {"x": 0, "y": 0, "width": PHONE["width"], "height": PHONE["height"]}
    assert visitor.launcher.is_hidden()
    assert visitor.panel.get_attribute("aria-modal") == "true"
    assert visitor.composer.evaluate("node => getComputedStyle(node).fontSize") == "16px"
    picture = visitor.page.screenshot(path=tmp_path / "phone.png")
    assert picture.startswith(b"\x89PNG")
    visitor.panel.get_by_role("button", name="Close").click()
    assert visitor.launcher.is_visible()


def test_the_composer_grows_with_its_text_and_stops(visit: Visit) -> None:
    visitor = visit().open()
    heights = []
    for text in ("one", "one\ntwo\nthree", "line\n" * 30, ""):
        visitor.composer.fill(text)
        heights.append(visitor.composer.evaluate("node => node.clientHeight"))
    assert heights[0] < heights[1] < heights[2] <= 140
    assert heights[3] == heights[0]


@pytest.mark.parametrize(
    ("lang", "placeholder", "direction"),
    [
        ("fr-CA", "Écrivez un message…", "ltr"),
        ("ar", "اكتب رسالة…", "rtl"),
        ("ja", "メッセージを入力…", "ltr"),
        ("xx", "Write a message…", "ltr"),
    ],
)
def test_the_widget_speaks_the_language_of_the_page(
    visit: Visit, platform: MockPlatform, lang: str, placeholder: str, direction: str
) -> None:
    platform.page_html = f'<html lang="{lang}" dir="{direction}"><body>{{widget}}</body></html>'
    visitor = visit().open()
    assert visitor.composer.get_attribute("placeholder") == placeholder
    assert visitor.composer.evaluate("node => getComputedStyle(node).direction") == direction
    box = visitor.panel.bounding_box()
    assert box is not None
    assert (box["x"] < 100) == (direction == "rtl")


def test_every_language_has_every_word() -> None:
    keys = re.search(r"const KEYS = '(.+)'\.split", SOURCE)
    table = re.findall(r"^ +(\w\w): '(.+)',$", SOURCE, re.MULTILINE)
    assert keys is not None
    assert [code for code, _ in table] == ["en", "fr", "de", "es", "it", "pt", "nl", "ru", "zh", "ja", "ar"]
    for _, words in table:
        assert len(words.split("|")) == len(keys[1].split("|"))
        assert all(words.split("|"))


def test_the_answer_keeps_its_own_direction(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["نعم، خلال يومين."])]
    visitor = visit().ask("Deliver?")
    visitor.wait_until_answered()
    assert visitor.answer().evaluate("node => getComputedStyle(node).direction") == "rtl"
    assert visitor.questions.first.evaluate("node => getComputedStyle(node).direction") == "ltr"


def test_a_foreign_origin_is_told_that_the_chat_is_not_for_it(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit(url=platform.shop_url.replace("127.0.0.1", "localhost")).open()
    visitor.panel.get_by_text("Not available on this site").wait_for()
    visitor.ask("Let me in")
    visitor.log.get_by_text("Not available on this site").wait_for()
    assert platform.conversations == {}


def test_a_revoked_key_is_told_the_same(visit: Visit, platform: MockPlatform) -> None:
    platform.key = "mia_pk_gone000001"
    visitor = visit().open()
    visitor.panel.get_by_text("Not available on this site").wait_for()


def test_attributes_place_and_colour_and_open_it(visit: Visit, platform: MockPlatform) -> None:
    platform.page_attributes = 'data-position="left" data-color="#123456" data-open data-locale="de"'
    visitor = visit()
    visitor.panel.wait_for()
    box = visitor.panel.bounding_box()
    assert box is not None
    assert box["x"] == 20
    assert visitor.composer.get_attribute("placeholder") == "Nachricht schreiben…"
    assert visitor.page.evaluate("document.activeElement.tagName") == "BODY"
    assert visitor.send_button.evaluate("node => getComputedStyle(node).getPropertyValue('--mia-color')") == "#123456"


def test_the_page_may_call_it_and_listen(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit()
    visitor.launcher.wait_for()
    visitor.page.evaluate(LISTEN)
    visitor.wait_until_answered()
    visitor.page.evaluate("MIA('close')")
    visitor.until(lambda: len(visitor.page.evaluate("__heard")) == 3)
    heard = visitor.page.evaluate("__heard")
    assert heard == [["open", None], ["message", "You said: From the page"], ["close", None]]
    assert visitor.errors == ["of the page"]
    visitor.errors.clear()
    visitor.page.evaluate("MIA('destroy')")
    assert visitor.widget.count() == 0
    assert visitor.page.evaluate("typeof MIA") == "undefined"


def test_calls_made_before_it_has_loaded_are_kept(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit(url=f"{platform.url}/nowhere")
    visitor.context.add_init_script("window.MIA = function () { (MIA.q = MIA.q || []).push(arguments); }; MIA('open');")
    visitor.page.goto(platform.shop_url)
    visitor.panel.wait_for()


def test_the_pages_own_styles_do_not_reach_it(visit: Visit, platform: MockPlatform) -> None:
    platform.csp = platform.csp.replace("default-src 'none'", "default-src 'none'; style-src 'unsafe-inline'")
    platform.page_html = f"<html><head><style>{RUDE}</style></head><body>{{widget}}</body></html>"
    visitor = visit().open()
    assert visitor.panel.bounding_box() is not None
    assert "gradient" in visitor.launcher.evaluate("node => getComputedStyle(node).backgroundImage")


def test_reduced_motion_moves_nothing(visit: Visit, platform: MockPlatform) -> None:
    platform.answers = [Answer(["Calm."], before_s=1)]
    visitor = visit(reduced_motion="reduce").ask("Calm?")
    visitor.log.locator(".dots").first.wait_for()
    script = "node => node.getRootNode().getAnimations().length"
    assert visitor.log.evaluate(script) == 0


def test_the_demo_page_needs_no_inline_anything(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit(url=f"{platform.url}/demo/")
    assert visitor.ask("Do you ship ferns?").wait_until_answered() == "You said: Do you ship ferns?"
    broken = "() => [...document.images].filter(image => !image.naturalWidth).map(image => image.src)"
    assert visitor.page.evaluate(broken) == []


def test_the_demo_page_without_a_key_says_how_to_get_one(visit: Visit, platform: MockPlatform) -> None:
    visitor = visit(url=f"{platform.url}/demo/?nokey")
    visitor.page.get_by_text("DEMO_PUBLISHABLE_KEY").wait_for()
    assert visitor.widget.count() == 0


def test_it_weighs_less_than_15_kilobytes() -> None:
    assert len(gzip.compress(SOURCE.encode(), 9)) <= 15 * 1024


def test_the_source_uses_nothing_that_a_strict_policy_forbids() -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|\.cssText|setAttribute\('style|https?://(?!HOST|www\.w3\.org/2000/svg)\w"
    assert re.findall(forbidden, SOURCE) == []
