"""Training: sources become chunks with vectors, and stay so at the next look."""

from __future__ import annotations

import pytest

from accounts.models import Business
from accounts.tenancy import business_scope
from knowledge.models import Embedding
from knowledge.tests.factories import add_answer, add_file, add_source, chunks, documents, fresh, train
from knowledge.tests.site import Answer, Site

pytestmark = pytest.mark.django_db


def vectors(business: Business) -> int:
    with business_scope(business.pk):
        return int(Embedding.objects.count())


def test_a_page_becomes_chunks_with_vectors(business: Business, site: Site) -> None:
    site.page("/", "Opening hours", "We open at nine on every day but Sunday. " * 5)
    source = add_source(business, location=site.url("/"))
    job = train(business)
    assert (job.status, job.chunks_embedded) == ("completed", 1)
    assert fresh(business, source).status == "trained"
    (chunk,) = chunks(business)
    assert (chunk.heading, chunk.language, chunk.section.anchor) == ("Opening hours", "en", "#top")
    assert "nine on every day" in chunk.words
    assert vectors(business) == 1


def test_a_sitemap_brings_every_page_it_lists(business: Business, site: Site) -> None:
    for name in ("a", "b", "c"):
        site.page(f"/{name}", f"Page {name}")
    source = add_source(business, kind="sitemap", location=site.sitemap("/a", "/b", "/c", "/missing"))
    assert train(business).status == "completed"
    source = fresh(business, source)
    assert (source.status, source.progress_done, source.progress_total) == ("trained", 4, 4)
    statuses = {key.rsplit("/", 1)[1]: document.status for key, document in documents(business).items()}
    assert statuses == {"a": "trained", "b": "trained", "c": "trained", "missing": "skipped"}
    assert "404" in documents(business)[site.url("/missing")].error


def test_a_website_is_followed_by_its_links_within_limits(business: Business, site: Site) -> None:
    site.page("/", "Home", links=("/one", "/logo.png", "https://elsewhere.example/", "mailto:a@b.example"))
    site.page("/one", "One", links=("/two", "/", "/one#part"))
    site.page("/two", "Two", links=("/three",))
    site.page("/three", "Three")
    add_source(business, kind="sitemap", location=site.url("/"), depth_limit=2)
    train(business)
    assert {key.removeprefix(site.url("")) for key in documents(business)} == {"/", "/one", "/two"}


def test_a_website_stops_at_its_limit_of_pages(business: Business, site: Site) -> None:
    site.page("/", "Home", links=tuple(f"/{number}" for number in range(30)))
    for number in range(30):
        site.page(f"/{number}", f"Page {number}")
    add_source(business, kind="sitemap", location=site.url("/"), page_limit=5)
    train(business)
    assert len(documents(business)) == 5


def test_looking_again_at_what_has_not_changed_embeds_nothing(business: Business, site: Site) -> None:
    site.page("/a", "A", links=("/b",))
    site.page("/b", "B")
    source = add_source(business, kind="sitemap", location=site.sitemap("/a", "/b"))
    train(business)
    before = [chunk.pk for chunk in chunks(business)]
    assert train(business, source).chunks_embedded == 0
    assert site.asked("/a") == [200, 304]
    assert [chunk.pk for chunk in chunks(business)] == before


def test_only_the_changed_part_of_a_changed_page_is_embedded_anew(business: Business, site: Site) -> None:
    long = "<h2>{}</h2><p>" + "Words that stay as they are, over and over again. " * 40 + "</p>"
    site.page("/a", "A", long.format("First"), long.format("Second"), "<h2>Price</h2><p>It costs 10 francs in all.</p>")
    site.page("/b", "B")
    source = add_source(business, kind="sitemap", location=site.sitemap("/a", "/b"))
    first = train(business).chunks_embedded
    kept = {chunk.pk for chunk in chunks(business)}
    site.page("/a", "A", long.format("First"), long.format("Second"), "<h2>Price</h2><p>It costs 20 francs in all.</p>")
    assert train(business, source).chunks_embedded == 1
    assert len(kept & {chunk.pk for chunk in chunks(business)}) == first - 1
    assert [chunk for chunk in chunks(business) if "20 francs" in chunk.words]


def test_a_page_that_is_gone_loses_its_words(business: Business, site: Site) -> None:
    site.page("/a", "A")
    site.page("/b", "B")
    source = add_source(business, kind="sitemap", location=site.sitemap("/a", "/b"))
    train(business)
    del site.pages["/b"]
    train(business, source)
    assert {chunk.document.title for chunk in chunks(business)} == {"A"}
    site.sitemap("/a")
    train(business, source)
    assert list(documents(business)) == [site.url("/a")]
    assert vectors(business) == len(chunks(business))


def test_a_server_that_fails_for_a_moment_costs_no_words(business: Business, site: Site) -> None:
    site.page("/a", "A")
    source = add_source(business, location=site.url("/a"))
    train(business)
    site.pages["/a"] = Answer(b"oops", 503)
    train(business, source)
    assert len(chunks(business)) == 1
    assert fresh(business, source).status == "trained"
    assert documents(business)[site.url("/a")].error == "It answered 503."


def test_a_missing_page_fails_and_says_why(business: Business, site: Site) -> None:
    source = add_source(business, location=site.url("/nowhere"))
    assert train(business).status == "failed"
    source = fresh(business, source)
    assert (source.status, source.error) == ("training_failed", "It answered 404.")


def test_a_failed_source_leaves_the_others_trained(business: Business, site: Site) -> None:
    site.page("/a", "A")
    add_source(business, location=site.url("/nowhere"))
    good = add_source(business, location=site.url("/a"))
    assert train(business).status == "partially_completed"
    assert fresh(business, good).status == "trained"


def test_two_pages_with_the_same_words_are_taught_once(business: Business, site: Site) -> None:
    site.page("/", "Home")
    site.page("/index.html", "Home")
    add_source(business, kind="sitemap", location=site.sitemap("/", "/index.html"))
    train(business)
    assert len(chunks(business)) == 1
    assert "same as" in documents(business)[site.url("/index.html")].error


def test_text_is_cut_by_its_headings(business: Business) -> None:
    text = "# Delivery\n\nWithin two days.\n\n# Returns\n\n" + "Send it back within a month and be paid in full. " * 20
    source = add_source(business, kind="text", title="House rules", text=text)
    train(business)
    assert fresh(business, source).status == "trained"
    headings = [chunk.heading for chunk in chunks(business)]
    assert headings == ["House rules › Delivery", "House rules › Returns"]


def test_a_file_is_trained_from_the_storage(business: Business) -> None:
    source = add_file(business, "prices.csv", b"bicycle,price\nRed Racer,900 francs\nBlue Tourer,1200 francs\n")
    train(business)
    assert fresh(business, source).status == "trained"
    assert "bicycle: Red Racer; price: 900 francs" in chunks(business)[0].words


def test_answers_of_people_are_chunks_of_their_own(business: Business) -> None:
    add_answer(business, "Do you repair tandems?", "Yes, in a week.")
    train(business)
    add_answer(business, "Do you rent?", "No.")
    train(business)
    assert [(chunk.curated, chunk.section.text) for chunk in chunks(business)] == [
        (True, "Yes, in a week."),
        (True, "No."),
    ]


def test_a_page_that_asks_not_to_be_indexed_is_left_out(business: Business, site: Site) -> None:
    site.page("/a", "A", head='<meta name="robots" content="noindex">')
    source = add_source(business, location=site.url("/a"))
    train(business)
    assert fresh(business, source).error == "The page asks not to be indexed."


def test_robots_are_obeyed_under_our_own_name(business: Business, site: Site) -> None:
    site.pages["/robots.txt"] = Answer(b"User-agent: MIA\nDisallow: /secret\n\nUser-agent: *\nDisallow: /\n")
    site.page("/open", "Open")
    site.page("/secret", "Secret")
    add_source(business, kind="sitemap", location=site.sitemap("/open", "/secret"))
    train(business)
    assert [chunk.document.title for chunk in chunks(business)] == ["Open"]
    assert site.asked("/secret") == []
    assert site.agents == {"MIA/0.1"}
