"""Somebody who asks, reads the answer as it is streamed, and comes back when the connection breaks."""

import itertools
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import requests

RETRY_S = 0.3
BROKEN = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)


@dataclass
class Visitor:
    """One question and what stands on the screen; `events` are all that came, with their time."""

    url: str
    key: str
    shown: str = ""
    last_id: str = ""
    is_done: bool = False
    ending: dict[str, Any] = field(default_factory=dict)
    events: list[tuple[float, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    taken: dict[str, Any] = field(default_factory=dict)
    refusals: list[requests.Response] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {self.key}"

    @property
    def job_id(self) -> str:
        return str(self.taken["job_id"])

    def ask(self, message: str, *, seconds: float = 60.0, **fields: Any) -> "Visitor":
        """Asks until the platform has taken the question; a repeat after a lost reply is the same question."""
        headers = {"Idempotency-Key": str(uuid4())}
        body = {"message": message, **fields}
        give_up_at = time.monotonic() + seconds
        while not self.taken:
            assert time.monotonic() < give_up_at, f"nobody took the question: {self.refusals[-1:]}"
            try:
                reply = self._session.post(f"{self.url}/chat", json=body, headers=headers, timeout=10)
            except BROKEN:
                time.sleep(RETRY_S)
                continue
            if reply.status_code == 200:
                self.taken = reply.json()
            else:
                self.refusals.append(reply)
                assert reply.status_code in {429, 503}, (reply.status_code, reply.text)
                time.sleep(min(float(reply.headers["Retry-After"]), 1.0))
        return self

    def follow(self, seconds: float = 60.0) -> "Visitor":
        """Reads until the answer is over, across as many connections as it takes."""
        give_up_at = time.monotonic() + seconds
        while not self.is_done and time.monotonic() < give_up_at:
            try:
                self._read_stream(give_up_at)
            except BROKEN:
                time.sleep(RETRY_S)
        return self

    def follow_in_background(self, seconds: float = 60.0) -> threading.Thread:
        thread = threading.Thread(target=self.follow, args=(seconds,), daemon=True)
        thread.start()
        return thread

    def _read_stream(self, give_up_at: float) -> None:
        headers = {"Last-Event-ID": self.last_id} if self.last_id else {}
        with self._session.get(self.url + self.taken["stream_url"], headers=headers, stream=True, timeout=20) as reply:
            if reply.status_code != 200:
                time.sleep(RETRY_S)
                return
            for event in events_of(reply):
                if event:
                    self._hear(event)
                if self.is_done or time.monotonic() > give_up_at:
                    return

    def _hear(self, event: dict[str, Any]) -> None:
        self.events.append((time.monotonic(), event))
        self.last_id = event.pop("id_line") or self.last_id
        kind = event["type"]
        if kind == "delta":
            if event["offset"] != len(self.shown):
                self.problems.append(f"at {len(self.shown)} came {event}")
            self.shown += event["text"]
        elif kind == "reset":
            self.shown = ""
        elif kind == "done" or (kind == "error" and event.get("final")):
            self.ending, self.is_done = event, True

    def times_of(self, kind: str) -> list[float]:
        return [at for at, event in self.events if event["type"] == kind]

    def longest_pause_s(self) -> float:
        """Between two pieces of text."""
        times = self.times_of("delta")
        return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)

    def result(self) -> dict[str, Any]:
        """What the platform keeps of the answer."""
        reply = self._session.get(f"{self.url}/job/{self.job_id}/result", timeout=10)
        assert reply.status_code == 200, reply.text
        return dict(reply.json())


def events_of(reply: requests.Response) -> Iterator[dict[str, Any]]:
    """The stream's events, {} for a sign of life; `id_line` is the id that came with each, or ''."""
    id_line, data = "", ""
    for raw in reply.iter_lines(chunk_size=1, decode_unicode=False):
        line = raw.decode()
        if line.startswith("id: "):
            id_line = line[4:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line:
            yield {**json.loads(data), "id_line": id_line} if data else {}
            id_line, data = "", ""
