"""The loaders by kind of content, and the one way in: bytes to sections and chunks."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Final, TypedDict

from knowledge.chunking import Piece, arranged, cut, fingerprint, heading_of
from knowledge.loaders.base import Loaded, LoadedSection, LoadError
from knowledge.loaders.detection import MEDIA_TYPES, Kind, kind_of
from miners.tokens import estimate_tokens

# Each pulls in a library of its own, so it is imported when it is needed first.
LOADERS: Final[dict[Kind, str]] = {
    Kind.HTML: "knowledge.loaders.html:load_html",
    Kind.PDF: "knowledge.loaders.pdf:load_pdf",
    Kind.DOCX: "knowledge.loaders.docx:load_docx",
    Kind.CSV: "knowledge.loaders.csv:load_csv",
    Kind.MARKDOWN: "knowledge.loaders.text:load_markdown",
    Kind.TEXT: "knowledge.loaders.text:load_text",
}


class SectionData(TypedDict):
    """A section as the processes tell each other of it."""

    heading: str
    anchor: str
    text: str


class PieceData(TypedDict):
    """A chunk to be, likewise."""

    section: int
    heading: str
    words: str
    tokens: int
    content_hash: str


class Prepared(TypedDict):
    """Everything that is kept of a file or page."""

    media_type: str
    title: str
    language: str
    dated: str
    links: list[str]
    canonical_url: str
    may_index: bool
    content_hash: str
    sections: list[SectionData]
    pieces: list[PieceData]


def prepare(content: bytes, *, name: str, declared: str = "", title: str = "") -> Prepared:
    """Loads and cuts; `title` goes before the one that the content gives itself. Raises LoadError."""
    kind = kind_of(content, name=name, declared=declared)
    if kind is Kind.SITEMAP:
        raise LoadError("It is a sitemap. Add it as a website, not as a page.")
    return prepared(kind, loader_of(kind)(content, name=name), title)


def prepare_answer(question: str, wordings: Sequence[str], answer: str, language: str) -> Prepared:
    """An answer that people wrote: one chunk with every wording of its question, one section with itself."""
    words = "\n".join([question, *wordings, "", answer])
    piece = Piece(0, question, words, estimate_tokens(words), fingerprint(question, words))
    return {
        "media_type": MEDIA_TYPES[Kind.TEXT],
        "title": question,
        "language": language,
        "dated": "",
        "links": [],
        "canonical_url": "",
        "may_index": True,
        "content_hash": piece.content_hash,
        "sections": [{"heading": question, "anchor": "", "text": answer}],
        "pieces": [PieceData(**asdict(piece))],  # type: ignore[typeddict-item]
    }


def prepared(kind: Kind, loaded: Loaded, title: str = "") -> Prepared:
    title = clean(title or loaded.title)
    sections = arranged(_clean_section(section) for section in loaded.sections)
    told: list[SectionData] = [
        {"heading": heading_of("", section.headings), "anchor": section.anchor[:200], "text": section.text}
        for section in sections
    ]
    pieces = list(cut(title, sections))
    return {
        "media_type": MEDIA_TYPES[kind],
        "title": title,
        "language": clean(loaded.language),
        "dated": clean(loaded.dated),
        "links": [clean(link) for link in loaded.links],
        "canonical_url": clean(loaded.canonical_url),
        "may_index": loaded.may_index,
        "content_hash": fingerprint(title, *[f"{item['heading']}\x00{item['text']}" for item in told]),
        "sections": told,
        "pieces": [PieceData(**asdict(piece)) for piece in pieces],  # type: ignore[typeddict-item]
    }


def clean(text: str) -> str:
    """Without what PostgreSQL takes in no text: NUL, and halves of surrogate pairs."""
    return text.replace("\x00", "").encode(errors="replace").decode()


def _clean_section(section: LoadedSection) -> LoadedSection:
    headings = tuple(clean(heading) for heading in section.headings)
    return LoadedSection(headings, clean(section.text), clean(section.anchor))


def loader_of(kind: Kind) -> Callable[..., Loaded]:
    from importlib import import_module

    module, _, function = LOADERS[kind].partition(":")
    loader: Callable[..., Loaded] = getattr(import_module(module), function)
    return loader


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
