"""Cuts the sections of a document into chunks: 300 to 400 tokens, 15 % of which repeat the chunk before.

Each carries the title and the headings above it, so that a slice of a price list still says whose prices they are.
Imports no Django: it runs where the loaders do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from knowledge.limits import SEPARATOR
from knowledge.loaders.base import LoadedSection
from miners.tokens import estimate_tokens

MOST_TOKENS: Final = 400
GOOD_TOKENS: Final = 340
OVERLAP_TOKENS: Final = 51
GATHERED_TOKENS: Final = 300
SECTION_TOKENS: Final = 1_600
HEADING_TOKENS: Final = 80
MAX_HEADING_CHARS: Final = 1_000

PARAGRAPH: Final = re.compile(r"\n\s*\n")
FENCE: Final = re.compile(r"\s*(?:```|~~~)")
SENTENCE: Final = re.compile(r"(?<=[.!?…])\s+|(?<=[。！？])|\n")


@dataclass(frozen=True)
class Piece:
    """One chunk to be: `section` is the place of its section in the list that it was cut from."""

    section: int
    heading: str
    words: str
    tokens: int
    content_hash: str


def arranged(sections: Iterable[LoadedSection]) -> list[LoadedSection]:
    """Sections of a useful size: short neighbours under one heading are joined, very long ones divided."""
    halves = [part for section in sections for part in _divided(section)]
    joined: list[LoadedSection] = []
    for section in halves:
        together = _joined(joined[-1], section) if joined else None
        if together is None:
            joined.append(section)
        else:
            joined[-1] = together
    return joined


def cut(title: str, sections: Sequence[LoadedSection]) -> Iterator[Piece]:
    for number, section in enumerate(sections):
        heading = heading_of(title, section.headings)
        room = MOST_TOKENS - min(estimate_tokens(heading), HEADING_TOKENS)
        for words in _slices(section.text, room):
            yield Piece(number, heading, words, estimate_tokens(words), fingerprint(heading, words))


def heading_of(title: str, headings: Sequence[str]) -> str:
    """The title and the headings under it, each once; "Prices – Shop" above "Prices" says nothing more."""
    path = [part for part in (title, *headings) if part]
    if len(path) > 1 and path[0].startswith(path[1]):
        path.pop(0)
    return SEPARATOR.join(dict.fromkeys(path))[:MAX_HEADING_CHARS]


def fingerprint(*texts: str) -> str:
    return hashlib.sha256("\x00".join(texts).encode(errors="replace")).hexdigest()


def _joined(first: LoadedSection, second: LoadedSection) -> LoadedSection | None:
    """The two as one section under what their headings share, or None when they should stay apart."""
    shared = _shared(first.headings, second.headings)
    if not shared and (first.headings or second.headings):
        return None
    if estimate_tokens(first.text) + estimate_tokens(second.text) > GATHERED_TOKENS:
        return None
    texts = [_under_its_headings(section, shared) for section in (first, second)]
    return LoadedSection(shared, "\n\n".join(texts), first.anchor)


def _shared(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return tuple(first[:count])


def _under_its_headings(section: LoadedSection, shared: tuple[str, ...]) -> str:
    own = SEPARATOR.join(section.headings[len(shared) :])
    return f"{own}\n{section.text}" if own else section.text


def _divided(section: LoadedSection) -> Iterator[LoadedSection]:
    if estimate_tokens(section.text) <= SECTION_TOKENS:
        yield section
        return
    for text in _packed(_parts(section.text, SECTION_TOKENS), SECTION_TOKENS, overlap=0):
        yield LoadedSection(section.headings, text, section.anchor)


def _slices(text: str, room: int) -> Iterator[str]:
    if estimate_tokens(text) <= room:
        yield text
        return
    yield from _packed(_parts(text, room - OVERLAP_TOKENS), min(room, GOOD_TOKENS + OVERLAP_TOKENS), OVERLAP_TOKENS)


@dataclass(frozen=True)
class _Part:
    """A paragraph, a sentence or a line, and what stands between it and the one before."""

    text: str
    gap: str
    tokens: int
    starts_in_code: bool = False

    @property
    def ends_in_code(self) -> bool:
        return self.starts_in_code != bool(FENCE.match(self.text))


def _packed(parts: Iterable[_Part], room: int, overlap: int) -> Iterator[str]:
    """As many parts together as there is room for; the last of them open the next slice too."""
    gathered: list[_Part] = []
    fresh = 0
    for part in parts:
        if fresh and sum(item.tokens for item in gathered) + part.tokens > room:
            yield _together(gathered)
            gathered, fresh = _tail(gathered, min(overlap, room - part.tokens)), 0
        gathered.append(part)
        fresh += 1
    if fresh:
        yield _together(gathered)


def _together(parts: Sequence[_Part]) -> str:
    """With the marks around a program that was cut in two, lest its second half pass for words."""
    text = "".join(part.text if number == 0 else part.gap + part.text for number, part in enumerate(parts)).strip()
    opening = "```\n" if parts[0].starts_in_code else ""
    closing = "\n```" if parts[-1].ends_in_code else ""
    return f"{opening}{text}{closing}"


def _tail(parts: Sequence[_Part], tokens: int) -> list[_Part]:
    kept: list[_Part] = []
    for part in reversed(parts):
        if part.tokens > tokens:
            break
        tokens -= part.tokens
        kept.insert(0, part)
    return kept


def _parts(text: str, longest: int) -> Iterator[_Part]:
    """Paragraphs, cut into sentences so that a few of them can be repeated; what is longer still, between words."""
    is_code = False
    for paragraph in PARAGRAPH.split(text):
        gap = "\n\n"
        for sentence in SENTENCE.split(paragraph):
            if not sentence or not sentence.strip():
                continue
            for piece in _hard(sentence, longest):
                part = _Part(piece, gap, estimate_tokens(piece), is_code)
                is_code = part.ends_in_code
                yield part
                gap = "\n" if "\n" in paragraph else " "


def _hard(sentence: str, longest: int) -> Iterator[str]:
    """A sentence as it is, or cut between words, or within one that is endless."""
    while estimate_tokens(sentence) > longest:
        reach = max(1, len(sentence) * longest // (estimate_tokens(sentence) + 1))
        space = sentence.rfind(" ", reach // 2, reach)
        end = space if space > 0 else reach
        yield sentence[:end].rstrip()
        sentence = sentence[end:].lstrip()
    if sentence:
        yield sentence
