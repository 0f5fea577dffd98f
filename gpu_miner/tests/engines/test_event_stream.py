"""Server-sent events out of any framing."""

import io

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3 import HTTPResponse

from gpu_miner.engines.event_stream import MAX_LINE_BYTES, StreamBroken, events


class Trickle(io.RawIOBase):
    """Bytes that come a few at a time."""

    def __init__(self, data: bytes, step: int) -> None:
        self._data, self._step = data, step

    def readable(self) -> bool:
        return True

    def read(self, amount: int | None = -1) -> bytes:
        taken, self._data = self._data[: self._step], self._data[self._step :]
        return taken

    read1 = read


def response(data: bytes, step: int = 3) -> requests.Response:
    made = requests.Response()
    made.raw = HTTPResponse(Trickle(data, step), preload_content=False)
    return made


@pytest.mark.parametrize(
    ("raw", "data"),
    [
        (b"data: a\n\ndata: b\n\n", ["a", "b"]),
        (b"data: a\r\n\r\n", ["a"]),
        (b"data:a\n\n", ["a"]),
        (b": ping\n\nevent: x\nid: 7\ndata: a\nretry: 1\n\n", ["a"]),
        (b"data: a\ndata: b\n\n", ["a\nb"]),
        (b"data: last", ["last"]),
        (b"", []),
        (b"\n\n\n", []),
        ("data: café 🚲\n\n".encode(), ["café 🚲"]),
        (b"data: \xff\n\n", ["\ufffd"]),
    ],
)
def test_events(raw: bytes, data: list[str]) -> None:
    assert list(events(response(raw))) == data


@given(
    st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1), max_size=6),
    st.integers(1, 9),
)
def test_the_framing_does_not_matter(texts: list[str], step: int) -> None:
    raw = "".join(f"data: {text}\n\n" for text in texts).encode()
    assert list(events(response(raw, step))) == texts


def test_a_line_without_end_is_refused() -> None:
    with pytest.raises(StreamBroken, match="too long"):
        list(events(response(b"data: " + b"x" * (MAX_LINE_BYTES + 10), step=1024 * 1024)))
