"""What browsers load without a key: the widget's script, and the demo shop that shows it."""

from __future__ import annotations

import functools
import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils.cache import patch_vary_headers

from mia.lib.pages import Page

WIDGET_KEPT_S = 3600


@dataclass(frozen=True)
class Script:
    """A script in one encoding, and the tag that names exactly these bytes."""

    content: bytes
    etag: str

    @classmethod
    def of(cls, content: bytes) -> Script:
        return cls(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')


class WidgetView(Page):
    """The widget's script, which any page may load; browsers keep it an hour and then ask by its ETag."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        is_packed = "gzip" in request.headers.get("Accept-Encoding", "")
        script = widget(is_packed)
        headers = {
            "ETag": script.etag,
            "Cache-Control": f"public, max-age={WIDGET_KEPT_S}, stale-while-revalidate=86400",
            "Access-Control-Allow-Origin": "*",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Timing-Allow-Origin": "*",
            "Vary": "Accept-Encoding",
        }
        known = {tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")}
        if script.etag in known:
            return HttpResponseNotModified(headers=headers)
        if is_packed:
            headers["Content-Encoding"] = "gzip"
        return HttpResponse(script.content, content_type="text/javascript; charset=utf-8", headers=headers)


class DemoView(Page):
    """A page of a plausible shop, with the widget on it."""

    def get(self, request: HttpRequest) -> HttpResponse:
        response = render(request, "chats/demo.html", {"publishable_key": settings.DEMO_PUBLISHABLE_KEY})
        patch_vary_headers(response, ["Accept-Language"])
        return response


def widget(is_packed: bool) -> Script:
    """The script as its file is now."""
    path = finders.find("chats/widget.js")
    if not isinstance(path, str):
        raise Http404
    return _read(path, Path(path).stat().st_mtime, is_packed)


@functools.lru_cache(maxsize=4)
def _read(path: str, modified_at: float, is_packed: bool) -> Script:
    """Read, packed and tagged once for every change of the file."""
    content = Path(path).read_bytes()
    return Script.of(gzip.compress(content, compresslevel=9, mtime=0) if is_packed else content)
