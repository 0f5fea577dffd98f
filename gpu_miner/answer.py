"""The text of one job's answer, and how much of it the platform has confirmed."""

import re
from bisect import bisect_right
from dataclasses import dataclass
from threading import Lock

UNSENDABLE = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Piece:
    """A stretch of the answer: where it starts in code points, and how many tokens ended inside it."""

    offset: int
    text: str
    tokens: int


class Answer:
    """Grows at one end by the engine and is confirmed at the other by the platform; safe between the two threads."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._text = ""
        self._half_character = ""
        self._sent = 0
        self._token_ends = [0]
        self._token_totals = [0]

    @property
    def text(self) -> str:
        with self._lock:
            return self._text

    @property
    def tokens(self) -> int:
        with self._lock:
            return self._token_totals[-1]

    @property
    def unsent(self) -> int:
        with self._lock:
            return len(self._text) - self._sent

    def begin(self, resume_text: str) -> None:
        """Start after text that an earlier attempt has already shown; it can be sent again but is not new."""
        with self._lock:
            self._text = resume_text
            self._sent = len(resume_text)
            self._token_ends, self._token_totals = [len(resume_text)], [0]

    def append(self, text: str, tokens: int) -> None:
        with self._lock:
            if self._half_character or UNSENDABLE.search(text):
                text = self._mended(text)
            self._text += text
            self._token_ends.append(len(self._text))
            self._token_totals.append(self._token_totals[-1] + tokens)

    def pending(self, limit: int) -> Piece | None:
        """The next unconfirmed text, at most `limit` code points of it; asking again gives it again."""
        with self._lock:
            text = self._text[self._sent : self._sent + limit]
            if not text:
                return None
            end = self._sent + len(text)
            return Piece(self._sent, text, self._tokens_until(end) - self._tokens_until(self._sent))

    def confirm(self, next_offset: int) -> None:
        """The platform has, or wants to go on from, `next_offset`: forward after an `ok`, back after a `range`."""
        with self._lock:
            self._sent = max(0, min(next_offset, len(self._text)))

    def _mended(self, text: str) -> str:
        text = self._half_character + text
        # A server that counts in UTF-16 can cut a character in two; the first half waits for the second.
        cut = len(text) - 1 if "\ud800" <= text[-1:] <= "\udbff" else len(text)
        self._half_character = text[cut:]
        return sendable(text[:cut])

    def _tokens_until(self, offset: int) -> int:
        position = bisect_right(self._token_ends, offset) - 1
        return self._token_totals[position] if position >= 0 else 0


def sendable(text: str) -> str:
    """The text without what JSON, UTF-8 or PostgreSQL cannot hold: NUL goes, lone surrogates become U+FFFD."""
    if UNSENDABLE.search(text):
        text = text.replace("\0", "").encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
