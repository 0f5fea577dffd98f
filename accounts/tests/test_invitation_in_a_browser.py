"""The way of a newcomer from the link to the admin, in a real browser: security headers must let the form through."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, sync_playwright
from pytest_django.live_server_helper import LiveServer

from accounts.models import Business
from accounts.tests.factories import InvitationFactory
from mia.tests.fixtures import CHROMIUM

PASSWORD = "a quite long and odd password"


@pytest.fixture
def link(live_server: LiveServer, business: Business) -> str:
    """Made before the browser starts: under Playwright's loop this thread would get a second database connection."""
    invitation = InvitationFactory(business=business, email="nina@example.org")
    return f"{live_server.url}/invitation/{invitation.token}/"


@pytest.fixture
def page(link: str) -> Iterator[Page]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


@pytest.mark.browser
@pytest.mark.django_db(transaction=True)
def test_a_newcomer_accepts_and_signs_in(link: str, page: Page) -> None:
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(link)
    page.fill("[name=name]", "Nina New")
    page.fill("[name=password]", PASSWORD)
    page.fill("[name=password_again]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("[name=username]")
    page.fill("[name=username]", "nina@example.org")
    page.fill("[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_selector("text=Nina New")
    page.wait_for_load_state("networkidle")
    assert [text for text in complaints if "Content Security Policy" in text] == []
