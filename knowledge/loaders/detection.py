"""What a file is, by its content: a name or a declared type only chooses among kinds of plain text."""

from __future__ import annotations

import io
import re
import zipfile
from enum import StrEnum
from typing import Final

from knowledge.loaders.base import LoadError

LOOKED_AT: Final = 4096
BOMS: Final = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
CONTROLS: Final = re.compile(r"[\x00-\x08\x0e-\x1f]")
MOST_CONTROLS: Final = 0.001
HTML: Final = re.compile(
    rb"<(!doctype\s+html|html|head|body|title|meta|article|main|div|p|h[1-6]|table|ul)\b", re.IGNORECASE
)
SITEMAP: Final = re.compile(rb"<(\w+:)?(urlset|sitemapindex)\b", re.IGNORECASE)
MARKDOWN_SUFFIXES: Final = (".md", ".markdown", ".mdown")


class Kind(StrEnum):
    """The kinds of content that have a loader."""

    HTML = "html"
    SITEMAP = "sitemap"
    PDF = "pdf"
    DOCX = "docx"
    CSV = "csv"
    MARKDOWN = "markdown"
    TEXT = "text"


MEDIA_TYPES: Final = {
    Kind.HTML: "text/html",
    Kind.SITEMAP: "application/xml",
    Kind.PDF: "application/pdf",
    Kind.DOCX: "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    Kind.CSV: "text/csv",
    Kind.MARKDOWN: "text/markdown",
    Kind.TEXT: "text/plain",
}


def kind_of(content: bytes, *, name: str = "", declared: str = "") -> Kind:
    """Raises LoadError for everything that no loader reads."""
    head = content[:LOOKED_AT]
    if not content.strip():
        raise LoadError("It is empty.")
    if b"%PDF-" in head[:1024]:
        return Kind.PDF
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(content)
    if SITEMAP.search(head) and head.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<"):
        return Kind.SITEMAP
    return _kind_of_text(content, name.lower(), declared)


def decoded(content: bytes) -> str:
    """The text of a plain file, in UTF-8 or UTF-16 with a mark, or else as Windows writes it in the west."""
    for mark, encoding in BOMS:
        if content.startswith(mark):
            return content.decode(encoding, errors="replace")
    try:
        return content.decode()
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _kind_of_zip(content: bytes) -> Kind:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            if "word/document.xml" in archive.namelist():
                return Kind.DOCX
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise LoadError("It is a damaged Word document or archive.") from error
    raise LoadError("It is an archive. Give its files one by one.")


def _kind_of_text(content: bytes, name: str, declared: str) -> Kind:
    text = decoded(content[: 16 * LOOKED_AT])
    if len(CONTROLS.findall(text)) > MOST_CONTROLS * len(text):
        raise LoadError("It is no kind of file that can be read. Give PDF, DOCX, HTML, CSV, Markdown or text.")
    if name.endswith(MARKDOWN_SUFFIXES) or declared == "text/markdown":
        return Kind.MARKDOWN
    if name.endswith((".csv", ".tsv")) or declared in {"text/csv", "text/tab-separated-values"}:
        return Kind.CSV
    if content.lstrip(b"\xef\xbb\xbf \r\n\t").startswith(b"<") and HTML.search(content[:LOOKED_AT]):
        return Kind.HTML
    if declared == "text/html" and HTML.search(content[: 16 * LOOKED_AT]):
        return Kind.HTML
    return Kind.TEXT
