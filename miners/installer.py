"""What a machine installs the miner from: the script with this platform's address in it, and the miner's own code."""

from __future__ import annotations

import functools
import gzip
import hashlib
import io
import shlex
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers

from mia.lib.pages import Page

SOURCE: Final = Path(settings.BASE_DIR) / "gpu_miner"
LEFT_OUT: Final = frozenset({"tests", "__pycache__", "pytest.ini"})


@dataclass(frozen=True)
class Archive:
    """The miner's code, and what tells it from any other."""

    content: bytes
    sha256: str


class InstallView(Page):
    """`curl -sSL https://…/install.sh | sh`: never kept by a cache, for the host may differ from request to request."""

    def get(self, request: HttpRequest) -> HttpResponse:
        response = HttpResponse(
            install_script(platform_url(request)),
            content_type="text/x-shellscript; charset=utf-8",
            headers={"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"},
        )
        patch_vary_headers(response, ["Host"])
        return response


class ArchiveView(Page):
    """The code that the script installs."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        made = archive()
        headers = {"ETag": f'"{made.sha256}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return HttpResponseNotModified(headers=headers)
        headers["Content-Disposition"] = "attachment; filename=miner.tar.gz"
        return HttpResponse(made.content, content_type="application/gzip", headers=headers)


def platform_url(request: HttpRequest) -> str:
    """Where miners reach this platform: PUBLIC_URL, else as this very request did, by a host that is allowed."""
    public: str = settings.PUBLIC_URL
    return public.rstrip("/") or f"{request.scheme}://{request.get_host()}"


def install_script(url: str) -> str:
    """The script with its two empty lines filled in; quoted, though nothing that needs quotes gets this far."""
    script = (SOURCE / "install.sh").read_text(encoding="utf-8")
    for name, value in (("PLATFORM", url), ("ARCHIVE_SHA256", archive().sha256)):
        empty = f"\n{name}=''\n"
        if script.count(empty) != 1:
            raise ValueError(f"install.sh has no place for {name}")
        script = script.replace(empty, f"\n{name}={shlex.quote(value)}\n")
    return script


def enrolment_command(url: str, token: str) -> str:
    """What the owner of a GPU runs to put it on this network."""
    return f"curl -sSL {shlex.quote(f'{url}/install.sh')} | sh -s -- --token {token}"


@functools.cache
def archive() -> Archive:
    """The same bytes from every process of one release: names in order, no times, no owners."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for path in _files(SOURCE):
            entry = tarfile.TarInfo(f"gpu_miner/{path.relative_to(SOURCE).as_posix()}")
            content = path.read_bytes()
            entry.size, entry.mode = len(content), 0o644
            tar.addfile(entry, io.BytesIO(content))
    content = gzip.compress(plain.getvalue(), mtime=0)
    return Archive(content, hashlib.sha256(content).hexdigest())


def _files(folder: Path) -> Iterator[Path]:
    """All of the miner but what only its developers need; a word list is as much a part of it as a program."""
    for path in sorted(folder.iterdir()):
        if path.name in LEFT_OUT or path.name.startswith("."):
            continue
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
