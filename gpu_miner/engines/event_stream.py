"""Server-sent events read from a response as they arrive."""

from collections.abc import Iterator

import requests
from urllib3.exceptions import HTTPError

BLOCK_BYTES = 64 * 1024
MAX_LINE_BYTES = 4 * 1024 * 1024


class StreamBroken(Exception):
    """The stream ended in the middle, or does not look like events."""


def events(response: requests.Response) -> Iterator[str]:
    """The `data` of each event; comments, names and ids are skipped, lines of one event joined."""
    data: list[str] = []
    for line in _lines(response):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            yield "\n".join(data)
            data = []
    if data:
        yield "\n".join(data)


def _lines(response: requests.Response) -> Iterator[str]:
    rest = b""
    for block in _blocks(response):
        rest += block
        *whole, rest = rest.split(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            raise StreamBroken("a line of the stream is too long")
        yield from (line.rstrip(b"\r").decode("utf-8", "replace") for line in whole)
    if rest:
        yield rest.rstrip(b"\r").decode("utf-8", "replace")


def _blocks(response: requests.Response) -> Iterator[bytes]:
    """Bytes as soon as they are there: requests' own iterators wait until a block is full."""
    while True:
        try:
            block = response.raw.read1(BLOCK_BYTES, decode_content=True)
        except (HTTPError, OSError, ValueError) as error:
            raise StreamBroken(f"the stream broke off: {error}") from error
        if not block:
            return
        yield block
