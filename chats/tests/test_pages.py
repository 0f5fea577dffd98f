"""The widget's script, as browsers on other people's pages fetch it."""

from __future__ import annotations

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


def test_the_widget_is_only_read() -> None:
    assert Client().post("/widget.js").status_code == 405
