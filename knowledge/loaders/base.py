"""What every loader gives: the words of a file by section. They import no Django, as they run in small processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

MAX_TEXT_CHARS: Final = 5_000_000
MAX_SECTIONS: Final = 20_000
MAX_TITLE_CHARS: Final = 500
MAX_HEADING_CHARS: Final = 200
MAX_HEADINGS: Final = 6
LONGEST_ENDING: Final = 8


class LoadError(Exception):
    """The content cannot be read; the message is for the person who gave it."""


@dataclass(frozen=True)
class LoadedSection:
    """The words under one heading; `anchor` leads there, as `#prices` or `page=3`."""

    headings: tuple[str, ...]
    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Loaded:
    """The words of a file or page, and what it says of itself; `dated` is an ISO date or empty."""

    title: str
    sections: Sequence[LoadedSection]
    language: str = ""
    dated: str = ""
    links: Sequence[str] = field(default=())
    canonical_url: str = ""
    may_follow: bool = True
    may_index: bool = True


class Loader(Protocol):
    """Turns bytes into words; raises LoadError."""

    def __call__(self, content: bytes, *, name: str) -> Loaded: ...


def checked(loaded: Loaded) -> Loaded:
    """The same, unless it holds more words than anybody reads, or none."""
    if not any(section.text.strip() for section in loaded.sections):
        raise LoadError("It holds no text.")
    if len(loaded.sections) > MAX_SECTIONS or sum(len(section.text) for section in loaded.sections) > MAX_TEXT_CHARS:
        raise LoadError(f"It holds more than {MAX_TEXT_CHARS:,} characters. Give it in several parts.")
    return loaded


def title_of(name: str) -> str:
    """A file by its name alone: "price-list.pdf" is called "price-list"."""
    stem, dot, ending = name.rpartition(".")
    return stem if dot and stem and "/" not in name and len(ending) <= LONGEST_ENDING else name


def one_line(text: str, longest: int = MAX_TITLE_CHARS) -> str:
    return " ".join(text.split())[:longest]
