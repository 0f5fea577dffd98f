"""Sees when an answer begins to recite what must not be told: its own instructions, or words that a business guards.

Texts are compared word by word, without case, marks and layout. Four words in a row of a guarded text may be chance
and are held back; eight are a leak.
"""

from __future__ import annotations

import re
import unicodedata
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

SUSPICIOUS_WORDS: Final = 4
LEAKED_WORDS: Final = 8
# Scripts without spaces count by the character, and say less in one.
WORD: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
WIDE: Final = re.compile(r"[\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
LEAKED_WIDE: Final = 20
LONGEST_WORD: Final = 64
EXCERPT_CHARS: Final = 200

Shingle = tuple[str, ...]


@dataclass(frozen=True)
class Guard:
    """What must not be told: runs of words of long texts, and whole short phrases."""

    shingles: frozenset[Shingle] = frozenset()
    phrases: frozenset[Shingle] = frozenset()
    longest: int = field(default=0)

    @classmethod
    def of(cls, texts: Iterable[str], phrases: Iterable[str] = (), public: Iterable[str] = ()) -> Guard:
        """`public` is what may be told although it stands in a guarded text too."""
        told = {shingle for text in public for shingle in _shingles(words_of(text))}
        guarded = {shingle for text in texts for shingle in _shingles(words_of(text))}
        short = frozenset(tuple(words) for phrase in phrases if (words := words_of(phrase)))
        return cls(frozenset(guarded - told), short, max(map(len, short), default=0))


class LeakWatch:
    """Reads an answer as it comes."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._words: deque[str] = deque(maxlen=max(SUSPICIOUS_WORDS, guard.longest))
        self._starts: deque[int] = deque(maxlen=max(LEAKED_WIDE + 1, guard.longest))
        self._run = 0
        self._length = 0
        self._tail = ""
        self.leaked_from = 0

    def take(self, text: str) -> tuple[int, bool]:
        """How many of the last characters must wait, and whether the answer leaks."""
        self._tail += text
        self._length += len(text)
        start = self._length - len(self._tail)
        end = 0
        for match in WORD.finditer(self._tail):
            if match.end() == len(self._tail) and not WIDE.match(match.group()) and len(match.group()) < LONGEST_WORD:
                break  # A word may go on in the next piece.
            end = match.end()
            if self._leaks(_plain(match.group()), start + match.start()):
                return 0, True
        self._tail = self._tail[end:]
        return self._held(), False

    def _leaks(self, word: str, start: int) -> bool:
        self._words.append(word)
        self._starts.append(start)
        words = tuple(self._words)
        if words[-SUSPICIOUS_WORDS:] in self._guard.shingles:
            self._run = self._run + 1 if self._run else SUSPICIOUS_WORDS
        else:
            self._run = 0
        is_wide = bool(WIDE.match(word))
        told = self._run if self._run >= (LEAKED_WIDE if is_wide else LEAKED_WORDS) else self._told_phrase(words)
        if told:
            self.leaked_from = self._starts[-min(told, len(self._starts))]
        return bool(told)

    def _told_phrase(self, words: Shingle) -> int:
        lengths = range(1, min(self._guard.longest, len(words)) + 1)
        return next((length for length in lengths if words[-length:] in self._guard.phrases), 0)

    def _held(self) -> int:
        """From the first word of a run that goes on, or that may be the beginning of a guarded phrase."""
        count = max(self._run, self._begun_phrase())
        if not count:
            return 0
        return self._length - self._starts[-min(count, len(self._starts))]

    def _begun_phrase(self) -> int:
        words = tuple(self._words)
        for length in range(min(self._guard.longest - 1, len(words)), 0, -1):
            if any(phrase[:length] == words[-length:] for phrase in self._guard.phrases):
                return length
        return 0


def find_leak(text: str, guard: Guard) -> str:
    """What gives a leak away, for the record; '' where there is none."""
    watch = LeakWatch(guard)
    _held, leaked = watch.take(f"{text} ")
    return text[watch.leaked_from :][:EXCERPT_CHARS] if leaked else ""


def words_of(text: str) -> list[str]:
    return [_plain(word) for word in WORD.findall(text)]


def _plain(word: str) -> str:
    """Without case and accents, as somebody who copies would not care to keep them."""
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(char for char in decomposed if not unicodedata.combining(char))


def _shingles(words: Sequence[str]) -> Iterable[Shingle]:
    for start in range(len(words) - SUSPICIOUS_WORDS + 1):
        yield tuple(words[start : start + SUSPICIOUS_WORDS])
