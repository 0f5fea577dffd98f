"""PDF files, page by page, under the titles of their outline."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, Final

import pypdf
from pypdf.errors import PyPdfError

from knowledge.loaders.base import (
    MAX_HEADING_CHARS,
    MAX_TEXT_CHARS,
    Loaded,
    LoadedSection,
    LoadError,
    checked,
    one_line,
)

MAX_PAGES: Final = 3_000
MAX_OUTLINE: Final = 5_000
HYPHENATED: Final = re.compile(r"(\w)[-\u00ad]\n(?=[a-zà-ÿ])")
WRAPPED: Final = re.compile(r"(?<![.!?:;\n])\n(?=[a-zà-ÿ(])")
# What pypdf meets in files made to break readers, besides its own errors.
BROKEN: Final = (PyPdfError, ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, OSError)


def load_pdf(content: bytes, *, name: str) -> Loaded:
    try:
        reader = pypdf.PdfReader(io.BytesIO(content), strict=False)
        if reader.is_encrypted and not reader.decrypt(""):
            raise LoadError("The PDF is protected by a password.")
        pages = len(reader.pages)
    except BROKEN as error:
        raise LoadError("The PDF is damaged.") from error
    if pages > MAX_PAGES:
        raise LoadError(f"The PDF has {pages:,} pages; at most {MAX_PAGES:,} are read.")
    titles = _outline(reader)
    sections = list(_sections(reader, titles))
    if not sections:
        raise LoadError("The PDF holds no text: its pages are images, as of a scanner. Give one with text (OCR).")
    return checked(Loaded(title=_title(reader) or name, sections=sections))


def _sections(reader: pypdf.PdfReader, titles: dict[int, str]) -> Iterator[LoadedSection]:
    heading, seen = "", 0
    for number, page in enumerate(reader.pages):
        heading = titles.get(number, heading)
        text = _text_of(page)
        seen += len(text)
        if seen > MAX_TEXT_CHARS:
            raise LoadError(f"The PDF holds more than {MAX_TEXT_CHARS:,} characters. Give it in several parts.")
        if text:
            yield LoadedSection((heading,) if heading else (), text, f"page={number + 1}")


def _text_of(page: pypdf.PageObject) -> str:
    """The words of a page; one that is broken is left out, as the others may be whole."""
    try:
        text = page.extract_text()
    except BROKEN:
        return ""
    return WRAPPED.sub(" ", HYPHENATED.sub(r"\1", text.replace("\x00", ""))).strip()


def _title(reader: pypdf.PdfReader) -> str:
    try:
        return one_line((reader.metadata.title if reader.metadata is not None else None) or "")
    except BROKEN:
        return ""


def _outline(reader: pypdf.PdfReader) -> dict[int, str]:
    """The first title of the outline on each page that has one."""
    titles: dict[int, str] = {}
    try:
        waiting: list[Any] = list(reader.outline)
        for _ in range(MAX_OUTLINE):
            if not waiting:
                break
            entry = waiting.pop(0)
            if isinstance(entry, list):
                waiting = [*entry, *waiting]
                continue
            number = reader.get_destination_page_number(entry)
            if number is not None:
                titles.setdefault(number, one_line(str(entry.title), MAX_HEADING_CHARS))
    except BROKEN:
        return titles
    return titles
