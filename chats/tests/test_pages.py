"""The widget's script, as browsers on other people's pages fetch it."""

from __future__ import annotations

import gzip
from typing import Any

import pytest
from django.test import Client


def test_any_page_may_load_the_widget_and_keep_it() -> None:
    response = Client().get("/widget.js", headers={"Origin": "https://shop.example"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/javascript; charset=utf-8"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert response.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert "max-age=3600" in response.headers["Cache-Control"]
    assert len(response.content) > 1000


def test_a_browser_that_has_the_widget_is_told_so() -> None:
    etag = Client().get("/widget.js").headers["ETag"]
    for known in (etag, f"W/{etag}", f'"other", {etag}'):
        response = Client().get("/widget.js", headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
    assert Client().get("/widget.js", headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_widget_is_sent_packed_to_whoever_unpacks() -> None:
    plain = Client().get("/widget.js")
    packed = Client().get("/widget.js", headers={"Accept-Encoding": "br, gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed.content) == plain.content
    assert len(packed.content) < 15_000
    assert packed.headers["ETag"] != plain.headers["ETag"]
    assert "Accept-Encoding" in packed.headers["Vary"]


@pytest.mark.parametrize("path", ["/widget.js", "/demo/"])
def test_pages_are_only_read(path: str) -> None:
    response = Client().post(path)
    assert (response.status_code, response.json()["error_code"]) == (405, "METHOD_NOT_ALLOWED")


def test_the_demo_shows_the_widget_with_its_key(settings: Any) -> None:
    settings.DEMO_PUBLISHABLE_KEY = "mia_pk_demo"
    response = Client().get("/demo/")
    assert response.status_code == 200
    assert b'data-key="mia_pk_demo"' in response.content
    assert b"/widget.js" in response.content
