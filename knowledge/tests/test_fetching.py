"""Fetching other people's pages: what is refused before a socket opens, and what ends in time."""

from __future__ import annotations

import time

import pytest

from accounts.models import Business
from knowledge.crawling import normalized
from knowledge.fetching import FetchError, Visits
from knowledge.tests.factories import add_source, documents, fresh, train
from knowledge.tests.site import Answer, Site

INSIDE = [
    "http://127.0.0.1/",
    "http://localhost/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://0.0.0.0/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://[fd00:ec2::254]/",
    "http://168.63.129.16/",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://127.1/",
]


def reason(url: str, visits: Visits | None = None) -> str:
    with pytest.raises(FetchError) as raised:
        (visits or Visits()).get(url)
    return str(raised.value)


@pytest.mark.parametrize("url", INSIDE)
def test_addresses_inside_are_refused(url: str, site: Site) -> None:
    assert reason(url) == "The address is not public."


@pytest.mark.parametrize(
    "url", ["ftp://a.example/", "file:///etc/passwd", "gopher://a.example/", "http://u:p@a.example/"]
)
def test_other_schemes_and_passwords_are_refused(url: str) -> None:
    assert "not a plain http" in reason(url) or "malformed" in reason(url)


@pytest.mark.parametrize("target", INSIDE[:4] + INSIDE[9:11])
def test_a_redirect_to_the_inside_is_refused(site: Site, target: str) -> None:
    site.pages["/"] = Answer(status=302, headers={"Location": target})
    assert reason(site.url("/")) == "The address is not public."
    assert site.asked("/") == [302]


def test_a_redirect_to_what_robots_forbid_is_not_followed(site: Site) -> None:
    site.pages["/robots.txt"] = Answer(b"User-agent: *\nDisallow: /private")
    site.pages["/"] = Answer(status=301, headers={"Location": "/private"})
    site.page("/private", "Private")
    assert reason(site.url("/")) == "It redirects to where we may not go."
    assert site.asked("/private") == []


def test_a_ring_of_redirects_ends(site: Site) -> None:
    site.pages["/"] = Answer(status=302, headers={"Location": "/"})
    assert reason(site.url("/")) == "It redirects too often."


def test_another_port_than_the_allowed_is_refused(site: Site) -> None:
    assert reason("http://a.example:6379/") == "The port is not allowed."


def test_a_page_of_fifty_megabytes_is_refused_unread(site: Site) -> None:
    site.pages["/"] = Answer(b"x" * 50_000_000)
    began = time.monotonic()
    assert "larger than 5000000 bytes" in reason(site.url("/"))
    assert time.monotonic() - began < 10


def test_a_packed_page_counts_unpacked(site: Site) -> None:
    import gzip

    packed = gzip.compress(b"a" * 20_000_000)
    site.pages["/"] = Answer(packed, headers={"Content-Encoding": "gzip"})
    assert len(packed) < 100_000
    assert "larger than" in reason(site.url("/"))


def test_other_kinds_of_content_are_refused(site: Site) -> None:
    site.pages["/"] = Answer(b"\x89PNG", media_type="image/png")
    assert reason(site.url("/")) == "The reply has another content type."


def test_while_the_rules_cannot_be_read_nothing_is(site: Site) -> None:
    site.pages["/robots.txt"] = Answer(status=503)
    site.page("/", "Home")
    with pytest.raises(FetchError) as raised:
        Visits().get(site.url("/"))
    assert not raised.value.permanent
    assert site.asked("/") == []


def test_the_pace_that_a_site_asks_for_is_kept(site: Site) -> None:
    site.pages["/robots.txt"] = Answer(b"User-agent: *\nCrawl-delay: 0.3")
    site.page("/", "Home")
    visits, began = Visits(), time.monotonic()
    for _ in range(3):
        visits.get(site.url("/"))
    assert time.monotonic() - began >= 0.6
    assert site.asked("/robots.txt") == [200]


def test_gone_and_broken_are_told_apart(site: Site) -> None:
    for status, is_gone, permanent in [(404, True, True), (410, True, True), (403, False, True), (500, False, False)]:
        site.pages["/"] = Answer(b"no", status)
        with pytest.raises(FetchError) as raised:
            Visits().get(site.url("/"))
        assert (raised.value.is_gone, raised.value.permanent) == (is_gone, permanent)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("HTTPS://Shop.Example:443/a b?x=1#part", "https://shop.example/a%20b?x=1"),
        ("http://shop.example", "http://shop.example/"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("javascript:alert(1)", None),
        ("https://user@shop.example/", None),
        ("https://[::1/", None),
        ("https://shop.example:99999/", None),
        ("//shop.example/", None),
        ("https://shop.example/" + "a" * 3000, None),
    ],
)
def test_an_address_is_spelled_one_way(given: str, wanted: str | None) -> None:
    assert normalized(given) == wanted


@pytest.mark.django_db
def test_a_source_inside_fails_with_its_reason(business: Business, site: Site) -> None:
    source = add_source(business, location="http://169.254.169.254/latest/meta-data/")
    train(business)
    source = fresh(business, source)
    assert (source.status, source.error) == ("training_failed", "The address is not public.")


@pytest.mark.django_db
def test_a_sitemap_cannot_lead_elsewhere(business: Business, site: Site) -> None:
    site.page("/a", "A")
    places = "".join(f"<url><loc>{url}</loc></url>" for url in ["http://127.0.0.1/admin", "https://other.example/x"])
    site.pages["/sitemap.xml"] = Answer(
        f"<urlset>{places}<url><loc>{site.url('/a')}</loc></url></urlset>".encode(), media_type="text/xml"
    )
    add_source(business, kind="sitemap", location=site.url("/sitemap.xml"))
    train(business)
    assert list(documents(business)) == [site.url("/a")]


@pytest.mark.django_db
def test_a_page_that_leads_to_another_website_is_left_out(business: Business, site: Site) -> None:
    site.pages["/a"] = Answer(status=302, headers={"Location": "http://10.0.0.1/"})
    source = add_source(business, kind="sitemap", location=site.sitemap("/a"))
    train(business)
    assert fresh(business, source).error == "The address is not public."


@pytest.mark.django_db
def test_entities_in_a_sitemap_are_not_resolved(business: Business, site: Site) -> None:
    bomb = "<!DOCTYPE x [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>"
    text = f"<?xml version='1.0'?>{bomb}<urlset><url><loc>&b;</loc></url></urlset>"
    site.pages["/sitemap.xml"] = Answer(text.encode(), media_type="application/xml")
    source = add_source(business, kind="sitemap", location=site.url("/sitemap.xml"))
    train(business)
    assert fresh(business, source).error == "The sitemap lists no page of this website."
