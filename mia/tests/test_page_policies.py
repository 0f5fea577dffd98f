"""The content policies in a real browser: no page of ours breaks its own, and nothing is loaded from elsewhere."""

import asyncio
import importlib.util
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.urls import reverse

from mia.tests.fixtures import CHROMIUM

pytestmark = [
    pytest.mark.browser,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(not importlib.util.find_spec("playwright"), reason="needs Playwright: pip install playwright"),
]

NOTE_VIOLATIONS = """
window.__violations = [];
const note = (event) => __violations.push(`${event.violatedDirective} ${event.blockedURI}`);
document.addEventListener("securitypolicyviolation", note);
"""
# Redoc's own mark in the corner, which its script names and the policy keeps out.
EXPECTED = {"img-src https://cdn.redoc.ly/redoc/logo-mini.svg"}


AT_ONCE = 6
"""Pages open at the same time: most of a page's time is the wait until it has been quiet for half a second."""


def look_at(base_url, addresses, session=None):
    """What went wrong, by address; in a thread of its own, as Playwright keeps an event loop running in its thread."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(lambda: asyncio.run(look_at_all(base_url, addresses, session))).result()


async def look_at_all(base_url, addresses, session):
    from playwright.async_api import async_playwright

    gate = asyncio.Semaphore(AT_ONCE)

    async def look(context, address):
        async with gate:
            return await problems_of(await context.new_page(), base_url, address)

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = await browser.new_context()
        await context.add_init_script(NOTE_VIOLATIONS)
        if session:
            await context.add_cookies([{"name": "sessionid", "value": session, "url": base_url}])
        found = await asyncio.gather(*[look(context, address) for address in addresses])
    return dict(zip(addresses, found, strict=True))


async def problems_of(page, base_url, address):
    problems = []
    page.on("pageerror", lambda error: problems.append(f"script error: {error}"))
    page.on("response", lambda response: problems.extend(foreign(response.url, base_url)))
    response = await page.goto(base_url + address, wait_until="networkidle", timeout=90_000)
    if response.status != 200:
        problems.append(f"status {response.status}")
    problems += [text for text in await page.evaluate("window.__violations") if text not in EXPECTED]
    await page.close()
    return problems


def foreign(url, base_url):
    parts = urlsplit(url)
    return [f"loaded {url}"] if parts.scheme.startswith("http") and parts.netloc != urlsplit(base_url).netloc else []


def troubled(found):
    return {address: problems for address, problems in found.items() if problems}


@pytest.fixture
def session(client):
    user = get_user_model().objects.create_superuser("root@mia.example", "a-long-password")
    client.force_login(user)
    return client.cookies["sessionid"].value


def test_the_api_pages_and_the_login_keep_to_their_policy(live_server):
    assert troubled(look_at(live_server.url, ["/docs", "/redoc", "/admin/login/"])) == {}


def test_every_page_of_the_admin_keeps_to_its_policy(live_server, session):
    lists = [
        reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist") for model in admin.site._registry
    ]
    assert troubled(look_at(live_server.url, [reverse("admin:index"), *lists], session)) == {}


def test_a_form_of_the_admin_keeps_to_its_policy(live_server, session):
    user = get_user_model().objects.get()
    addresses = [reverse("admin:accounts_user_change", args=[user.pk]), reverse("admin:accounts_business_add")]
    assert troubled(look_at(live_server.url, addresses, session)) == {}


def test_the_browser_would_have_told(live_server):
    """The same probe on a page that breaks its policy on purpose: a script written into it."""
    from playwright.sync_api import sync_playwright

    def look():
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.add_init_script(NOTE_VIOLATIONS)
            page.goto(live_server.url + "/admin/login/")
            page.evaluate(
                "document.body.append(Object.assign(document.createElement('script'), {text: 'window.x = 1'}))"
            )
            return page.evaluate("[window.x, window.__violations]")

    with ThreadPoolExecutor(1) as thread:
        ran, violations = thread.submit(look).result()
    assert (ran, violations) == (None, ["script-src-elem inline"])
