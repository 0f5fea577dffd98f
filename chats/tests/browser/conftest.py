"""A browser, a scripted platform, and a visitor who uses both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from chats.tests.browser.mock_platform import MockPlatform
from chats.tests.browser.visitor import Visitor

playwright_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
Visit = Callable[..., Visitor]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Any]:
    """One browser for this package; it ends with it, because Playwright keeps an event loop running in this thread."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def platform() -> Iterator[MockPlatform]:
    platform = MockPlatform()
    yield platform
    platform.close()


@pytest.fixture
def visit(chromium: Any, platform: MockPlatform) -> Iterator[Visit]:
    """Opens the shop in a fresh browser profile; at the end, no page has seen a script error or a policy violation."""
    visitors: list[Visitor] = []

    def open_shop(url: str = "", viewport: dict[str, int] | None = None, **options: Any) -> Visitor:
        context = chromium.new_context(viewport=viewport or DESKTOP, locale="en-GB", **options)
        context.set_default_timeout(8_000)
        visitors.append(Visitor(context, url or platform.shop_url))
        return visitors[-1]

    yield open_shop
    for visitor in visitors:
        problems = visitor.problems()
        visitor.context.close()
        assert problems == []
