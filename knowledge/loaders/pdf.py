"""PDF files, page by page, cut at the titles of their outline; what recurs on every page is left out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import pypdfium2
from pypdfium2.raw import FPDF_ERR_PASSWORD

from knowledge.loaders.base import (
    MAX_HEADING_CHARS,
    MAX_TEXT_CHARS,
    Loaded,
    LoadedSection,
    LoadError,
    checked,
    one_line,
    title_of,
)

MAX_PAGES: Final = 3_000
MAX_OUTLINE: Final = 5_000
# A title may be wrapped over as many lines.
MAX_TITLE_LINES: Final = 3
# Lines at the edges of a page are furniture where as many pages share them.
EDGE_LINES: Final = 2
RECURRING_PAGES: Final = 4
RECURRING_SHARE: Final = 0.1
# A line that is nearly as long as the longest ones was wrapped; a shorter one ended where its writer wanted it to.
FULL_LINE_SHARE: Final = 0.8
SHORTEST_FULL_LINE: Final = 40
HALF_LINE_SHARE: Final = 0.5
SOFT_HYPHEN: Final = re.compile("[\u00ad\ufffe\x02]\\s*")
LEADER: Final = re.compile(r"(?:\s?[.·…]){4,}.{0,8}$")
CONTENTS_SHARE: Final = 0.3
"""A page of which as many lines lead to other pages is a table of contents."""
NUMBERED_TITLE: Final = re.compile(r"^(\d{1,2}(?:\.\d{1,2}){0,3})\.?\s+(?=[^\W\d_]).{2,80}(?<![.,;:])$")
NUMBERED: Final = re.compile(
    r"^(?:(?:chapter|appendix|part|section)\s+)?[\divxlca-c]+(?:\.\d+)*[.:)]?\s+", re.IGNORECASE
)
STARTS_ANEW: Final = re.compile(r"^(?:[-•–·▪*∗$]|\d{1,3}(?:\.\d+)*[.)]?\s|\w[\w -]{0,30}:\s)")
ENDED: Final = re.compile(r"[.!?:;…。！？][\"”’»)\]]*$")
DIGITS: Final = re.compile(r"\d+|\b[ivxlc]+\b")
NOT_LETTERS: Final = re.compile(r"[\W_]+")


def load_pdf(content: bytes, *, name: str) -> Loaded:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code == FPDF_ERR_PASSWORD:
            raise LoadError("The PDF is protected by a password.") from error
        raise LoadError("The PDF is damaged.") from error
    if len(document) > MAX_PAGES:
        raise LoadError(f"The PDF has {len(document):,} pages; at most {MAX_PAGES:,} are read.")
    pages = _without_furniture(_pages(document))
    sections = _whole(_sections(pages, _outline(document) or _numbered(pages)))
    if not sections:
        raise LoadError("The PDF holds no text: its pages are images, as of a scanner. Give one with text (OCR).")
    title = one_line(document.get_metadata_value("Title"))
    return checked(Loaded(title=title or title_of(name), sections=sections))


def _pages(document: pypdfium2.PdfDocument) -> list[list[str]]:
    """The lines of each page; one that is broken is left out, as the others may be whole."""
    pages: list[list[str]] = []
    seen = 0
    for number in range(len(document)):
        text = _text_of(document, number)
        seen += len(text)
        if seen > MAX_TEXT_CHARS:
            raise LoadError(f"The PDF holds more than {MAX_TEXT_CHARS:,} characters. Give it in several parts.")
        pages.append([" ".join(line.split()) for line in text.splitlines() if line.strip()])
    return pages


def _text_of(document: pypdfium2.PdfDocument, number: int) -> str:
    try:
        page = document[number]
        try:
            text: str = page.get_textpage().get_text_bounded(errors="ignore")
        finally:
            page.close()
    except pypdfium2.PdfiumError:
        return ""
    return SOFT_HYPHEN.sub("", text.replace("\x00", ""))


def _without_furniture(pages: Sequence[list[str]]) -> list[list[str]]:
    """Without running heads, page numbers and tables of contents, which answer nothing."""
    edges = Counter(mark for lines in pages for mark in {_mark(line) for line in _edges(lines)})
    needed = max(RECURRING_PAGES, RECURRING_SHARE * len(pages))
    recurring = {mark for mark, count in edges.items() if count >= needed}
    return [
        [line for place, line in enumerate(lines) if not (_is_edge(place, lines) and _is_furniture(line, recurring))]
        if not _is_contents(lines)
        else []
        for lines in pages
    ]


def _is_furniture(line: str, recurring: set[str]) -> bool:
    """A running head names its chapter in capitals, with a number; it changes with each."""
    return _mark(line) in recurring or (line.isupper() and any(char.isdigit() for char in line))


def _is_contents(lines: Sequence[str]) -> bool:
    return sum(bool(LEADER.search(line)) for line in lines) > CONTENTS_SHARE * len(lines)


def _edges(lines: Sequence[str]) -> list[str]:
    return [line for place, line in enumerate(lines) if _is_edge(place, lines)]


def _is_edge(place: int, lines: Sequence[str]) -> bool:
    return place < EDGE_LINES or place >= len(lines) - EDGE_LINES


def _mark(line: str) -> str:
    """A line but for its numbers, which count the pages."""
    return DIGITS.sub("#", line)


Titles = dict[int, list[tuple[str, ...]]]


def _outline(document: pypdfium2.PdfDocument) -> Titles:
    """The titles that the outline gives each page, each with those above it, the outermost first."""
    titles: Titles = {}
    path: list[str] = []
    for mark in islice(document.get_toc(), MAX_OUTLINE):
        title = one_line(mark.get_title() or "", MAX_HEADING_CHARS)
        destination = mark.get_dest()
        path = [*path[: mark.level], title]
        if destination is not None and title and (page := destination.get_index()) is not None:
            titles.setdefault(page, []).append(tuple(part for part in path if part))
    return titles


def _numbered(pages: Sequence[list[str]]) -> Titles:
    """Without an outline, lines such as "2.4. Options" are the titles."""
    titles: Titles = {}
    path: list[str] = []
    for number, lines in enumerate(pages):
        for line in lines:
            if found := NUMBERED_TITLE.match(line):
                path = [
                    *(title for title in path if found.group(1).startswith(f"{title.split()[0].rstrip('.')}.")),
                    line,
                ]
                titles.setdefault(number, []).append(tuple(path))
    return titles


def _sections(pages: Sequence[list[str]], titles: Titles) -> Iterator[LoadedSection]:
    """What stands under each title on each page."""
    headings: tuple[str, ...] = ()
    for number, lines in enumerate(pages):
        waiting = list(titles.get(number, ()))
        start = 0
        for place, end, title in _found(lines, waiting):
            yield from _section(headings, lines[start:place], number)
            headings, start = title, end
        if waiting and start == 0:
            # The page shows none of its titles as the outline has them: the first is better than that of another page.
            headings = waiting[0]
        yield from _section(headings, lines[start:], number)


def _whole(sections: Iterable[LoadedSection]) -> list[LoadedSection]:
    """With what goes on under the same title on the next page; it is found at the title."""
    whole: list[LoadedSection] = []
    for section in sections:
        before = whole[-1] if whole else None
        if before is not None and section.headings and before.headings == section.headings:
            whole[-1] = LoadedSection(before.headings, f"{before.text}\n{section.text}", before.anchor)
        else:
            whole.append(section)
    return whole


def _section(headings: tuple[str, ...], lines: Sequence[str], page: int) -> Iterator[LoadedSection]:
    text = "\n".join(_unwrapped(lines)).strip()
    if text:
        yield LoadedSection(headings, text, f"page={page + 1}")


def _found(lines: Sequence[str], titles: Sequence[tuple[str, ...]]) -> Iterator[tuple[int, int, tuple[str, ...]]]:
    """Where the titles stand on the page, in its order: first line, line after, title."""
    place = 0
    for title in titles:
        for at in range(place, len(lines)):
            if end := _title_ends(lines, at, title[-1]):
                yield at, end, title
                place = end
                break


def _title_ends(lines: Sequence[str], at: int, title: str) -> int:
    """The line after the title that begins at a line; 0 where none begins there."""
    wanted = {_letters(title), _letters(NUMBERED.sub("", title))}
    for end in range(at + 1, min(at + MAX_TITLE_LINES, len(lines)) + 1):
        said = " ".join(lines[at:end])
        if not wanted.isdisjoint({_letters(said), _letters(NUMBERED.sub("", said))} - {""}):
            return end
    return 0


def _letters(text: str) -> str:
    return NOT_LETTERS.sub("", text).casefold()


def _unwrapped(lines: Sequence[str]) -> list[str]:
    """Lines that were only wrapped, made one."""
    longest = sorted(len(line) for line in lines)[-max(1, len(lines) // 10) :][0] if lines else 0
    full = max(SHORTEST_FULL_LINE, FULL_LINE_SHARE * longest)
    joined: list[str] = []
    before = ""
    for line in lines:
        is_long = len(before) >= (HALF_LINE_SHARE * full if line[0].islower() else full)
        if joined and is_long and not ENDED.search(before) and not STARTS_ANEW.match(line):
            joined[-1] = f"{joined[-1][:-1]}{line}" if _is_cut(joined[-1], line) else f"{joined[-1]} {line}"
        else:
            joined.append(line)
        before = line
    return joined


def _is_cut(before: str, line: str) -> bool:
    return before.endswith("-") and before[-2:-1].isalpha() and line[0].islower()
