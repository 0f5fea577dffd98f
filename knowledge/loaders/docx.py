"""Word documents, by heading style, tables included."""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Final

import docx
from docx.document import Document
from docx.opc.exceptions import OpcError
from docx.table import Table
from docx.text.paragraph import Paragraph
from lxml import etree

from knowledge.loaders.base import Loaded, LoadError, checked, one_line, title_of
from knowledge.loaders.text import sections_of

MAX_UNPACKED_BYTES: Final = 100_000_000
MAX_RATIO: Final = 150
MAX_ENTRIES: Final = 5_000
MAX_CELLS: Final = 50_000
HEADING_STYLE: Final = re.compile(r"(?:heading|title)\s*(\d)?$", re.IGNORECASE)
BROKEN: Final = (
    OpcError,
    zipfile.BadZipFile,
    zlib.error,
    etree.XMLSyntaxError,
    KeyError,
    ValueError,
    AttributeError,
    OSError,
)


def load_docx(content: bytes, *, name: str) -> Loaded:
    _check_archive(content)
    try:
        document = docx.Document(io.BytesIO(content))
        text = "\n".join(_lines(document))
        title = one_line(document.core_properties.title or "")
    except BROKEN as error:
        raise LoadError("The Word document is damaged.") from error
    return checked(Loaded(title=title or title_of(name), sections=list(sections_of(text))))


def _check_archive(content: bytes) -> None:
    """What the archive's table says it holds; what it holds beyond that, zipfile does not unpack."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise LoadError("The Word document is damaged.") from error
    unpacked = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_ENTRIES or unpacked > MAX_UNPACKED_BYTES or unpacked > MAX_RATIO * max(len(content), 10_000):
        raise LoadError("The Word document unpacks to far more than it is: it looks like a bomb.")


def _lines(document: Document) -> Iterator[str]:
    cells = 0
    for block in document.iter_inner_content():
        if isinstance(block, Paragraph):
            yield _as_markdown(block)
            yield ""
        elif isinstance(block, Table):
            for row in block.rows:
                values = [one_line(cell.text) for cell in row.cells]
                cells += len(values)
                if cells > MAX_CELLS:
                    raise LoadError(f"Its tables have more than {MAX_CELLS:,} cells. Give them as CSV.")
                yield " | ".join(values)
            yield ""


def _as_markdown(paragraph: Paragraph) -> str:
    level, text = _level(paragraph), paragraph.text.strip()
    if level and text:
        return f"{'#' * level} {one_line(text)}"
    return f"\\{text}" if text.startswith("#") else text


def _level(paragraph: Paragraph) -> int:
    """1 to 6 for a heading. Styles have their English names in the file, whatever the language of Word."""
    style = paragraph.style
    found = HEADING_STYLE.match((style.name or "") if style is not None else "")
    return min(int(found.group(1) or 1), 6) if found else 0
