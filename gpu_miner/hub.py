"""Downloading a model from a Hugging Face hub: resumed where it was cut, checked against the hub's own checksums."""

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from time import sleep
from urllib.parse import quote, urlsplit

import requests

from gpu_miner import VERSION
from gpu_miner.catalogue import GIBIBYTE, Model
from gpu_miner.errors import DownloadFailed
from gpu_miner.protocol import JsonObject, as_int, as_list, as_object, as_text

logger = logging.getLogger(__name__)

BLOCK_BYTES = 128 * 1024
TIMEOUT_S = (10.0, 60.0)
# Tries without a single new byte between them; a line that drops every minute still gets there.
FRUITLESS_TRIES = 5
MAX_FILES = 500
MAX_LISTING_BYTES = 8 * 1024 * 1024
# Room for the file system and for what else the machine does meanwhile.
SPARE_BYTES = GIBIBYTE
# Other formats of the same weights, and pictures for the model's page.
UNWANTED = (".bin", ".pth", ".pt", ".gguf", ".onnx", ".msgpack", ".h5", ".md", ".png", ".jpg", ".gitattributes")
COMPLETE_MARK = ".complete"

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class HubFile:
    """One file of a repository; `sha256` for large files, git's `blob_id` for the small ones."""

    path: str
    size: int
    sha256: str
    blob_id: str


class Hub:
    """One hub; `waits` are the seconds between tries, shortened by tests."""

    def __init__(self, url: str, token: str = "", wait_s: float = 2.0) -> None:
        self._url = url.rstrip("/")
        self._wait_s = wait_s
        self._session = requests.Session()
        self._session.headers["User-Agent"] = f"mia-miner/{VERSION}"
        # Compressed on the way, offsets would not count the file's own bytes.
        self._session.headers["Accept-Encoding"] = "identity"
        if token:
            self._session.headers["Authorization"] = f"Bearer {token}"

    def download(self, model: Model, folder: Path, report: Report) -> None:
        """Bring every file of the model into the folder; what is there and right is kept. Raises DownloadFailed."""
        files = self.files_of(model)
        total = sum(file.size for file in files)
        self._check_disk(folder, files, total)
        done = 0
        for file in files:
            self._bring(model, file, folder, _part_of(report, done, total))
            done += file.size
        (folder / COMPLETE_MARK).touch()

    def files_of(self, model: Model) -> list[HubFile]:
        address = f"/api/models/{model.repository}/tree/{quote(model.revision, safe='')}?recursive=true"
        entries = [as_object(entry) for entry in as_list(self._listing(address, model))]
        files = [_hub_file(entry) for entry in entries if entry.get("type") == "file"]
        wanted = [file for file in files if not file.path.lower().endswith(UNWANTED)]
        if not any(file.path.endswith(".safetensors") for file in wanted):
            raise DownloadFailed(f"{model.repository}@{model.revision} holds no weights (*.safetensors)")
        return wanted

    def _listing(self, address: str, model: Model) -> object:
        try:
            with self._session.get(self._url + address, timeout=TIMEOUT_S, stream=True) as response:
                if response.status_code in (401, 403, 404):
                    raise DownloadFailed(
                        f"{self._url} has no {model.repository} at revision {model.revision}, "
                        "or wants a token for it (HF_TOKEN)"
                    )
                response.raise_for_status()
                entries = json.loads(_limited(response))
        except (requests.RequestException, ValueError) as error:
            raise DownloadFailed(f"the files of {model.repository} cannot be listed: {error}") from error
        if not isinstance(entries, list) or len(entries) > MAX_FILES:
            raise DownloadFailed(f"the listing of {model.repository} is not one of a model")
        return entries

    def _check_disk(self, folder: Path, files: list[HubFile], total: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        there = sum(_size(folder / file.path) or _size(_partial(folder / file.path)) for file in files)
        needed, free = total - there + SPARE_BYTES, shutil.disk_usage(folder).free
        if needed > free:
            raise DownloadFailed(
                f"the model needs {needed / GIBIBYTE:.1f} GB of disk in {folder}, {free / GIBIBYTE:.1f} GB are free; "
                "make room, or set --models-dir"
            )

    def _bring(self, model: Model, file: HubFile, folder: Path, report: Report) -> None:
        target = folder / file.path
        if _size(target) == file.size and _is_right(target, file):
            report(file.size, file.size)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        address = f"{self._url}/{model.repository}/resolve/{quote(model.revision, safe='')}/{quote(file.path)}"
        for is_last in (False, True):
            self._fetch(address, file, _partial(target), report)
            if _is_right(_partial(target), file):
                os.replace(_partial(target), target)
                return
            _partial(target).unlink()
            logger.warning("%s arrived damaged%s", file.path, "" if is_last else " and is fetched anew")
        raise DownloadFailed(f"{file.path} does not have the checksum that {self._url} names; nothing of it was kept")

    def _fetch(self, address: str, file: HubFile, partial: Path, report: Report) -> None:
        """Append to the partial file until it has its size, whatever the line does."""
        fruitless = 0
        while (have := _size(partial)) < file.size or not partial.exists():
            try:
                self._fetch_once(address, file, partial, report)
            except (requests.RequestException, OSError) as error:
                if isinstance(error, OSError) and error.errno:
                    raise DownloadFailed(f"{partial} cannot be written: {error.strerror}") from error
                fruitless = 0 if _size(partial) > have else fruitless + 1
                if fruitless >= FRUITLESS_TRIES:
                    raise DownloadFailed(f"{file.path} cannot be downloaded: {error}") from error
                logger.info("the download of %s was cut at %s bytes and goes on", file.path, _size(partial))
                sleep(self._wait_s * fruitless)

    def _fetch_once(self, address: str, file: HubFile, partial: Path, report: Report) -> None:
        have = _size(partial)
        headers = {"Range": f"bytes={have}-"} if have else {}
        with self._session.get(address, headers=headers, timeout=TIMEOUT_S, stream=True) as response:
            if response.status_code == 416:
                partial.unlink()
                raise DownloadFailed(f"{file.path} is shorter than {self._url} says; nothing of it is used")
            response.raise_for_status()
            # A server that does not know ranges sends all of it again.
            goes_on = response.status_code == 206 and _starts_at(response, have)
            with partial.open("ab" if goes_on else "wb") as out:
                got = have if goes_on else 0
                for block in response.iter_content(BLOCK_BYTES):
                    got += len(block)
                    if got > file.size:
                        partial.unlink()
                        raise DownloadFailed(f"{file.path} is longer than {self._url} says; nothing of it is used")
                    out.write(block)
                    report(got, file.size)
        if got < file.size:
            raise requests.ConnectionError(f"the file ended after {got} of {file.size} bytes")


def _part_of(report: Report, before: int, total: int) -> Report:
    """Reports of one file as reports of all of them."""
    return lambda done, _size: report(before + done, total)


def folder_is_complete(folder: Path) -> bool:
    """Whether a download once came to its end here; the checks were done then."""
    return (folder / COMPLETE_MARK).exists()


def _limited(response: requests.Response) -> bytes:
    raw = b""
    for block in response.iter_content(BLOCK_BYTES):
        raw += block
        if len(raw) > MAX_LISTING_BYTES:
            raise DownloadFailed("the hub's listing is larger than that of any model")
    return raw


def _starts_at(response: requests.Response, offset: int) -> bool:
    return response.headers.get("Content-Range", "").startswith(f"bytes {offset}-")


def _hub_file(entry: JsonObject) -> HubFile:
    path = as_text(entry.get("path"))
    parts = PurePosixPath(path)
    if not path or parts.is_absolute() or ".." in parts.parts or "\0" in path:
        raise DownloadFailed(f"the hub lists a file outside the model's folder: {path!r}")
    lfs = as_object(entry.get("lfs"))
    size = as_int(lfs.get("size", entry.get("size")), -1)
    if size < 0:
        raise DownloadFailed(f"the hub does not say how large {path} is")
    return HubFile(path, size, as_text(lfs.get("oid")).removeprefix("sha256:"), as_text(entry.get("oid")))


def _is_right(path: Path, file: HubFile) -> bool:
    if not path.exists() or path.stat().st_size != file.size:
        return False
    if file.sha256:
        return _digest(path, "sha256") == file.sha256
    if len(file.blob_id) == 40:
        # Small files have no other checksum than the one that git knows them by.
        return _digest(path, "sha1", b"blob %d\0" % file.size) == file.blob_id
    raise DownloadFailed(f"the hub names no checksum for {file.path}")


def _digest(path: Path, algorithm: str, begin: bytes = b"") -> str:
    running = hashlib.new(algorithm, begin, usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            running.update(block)
    return running.hexdigest()


def _partial(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def token_for(url: str, environ: Mapping[str, str]) -> str:
    """The operator's own hub token, for the hub it was made for and for no other host."""
    host = urlsplit(url).hostname or ""
    return environ.get("HF_TOKEN", "") if host == "huggingface.co" else ""
