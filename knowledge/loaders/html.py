"""Web pages: the words by trafilatura, which leaves menus and footers out; links, title and places by selectolax."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urljoin

import trafilatura
from selectolax.lexbor import LexborHTMLParser

from knowledge.loaders.base import MAX_HEADING_CHARS, Loaded, LoadError, checked, one_line
from knowledge.loaders.text import plain, sections_of

MAX_LINKS: Final = 2_000
MAX_NODES: Final = 200_000
MAX_DEPTH: Final = 400
MAX_OPEN: Final = 2_000
"""Elements whose end has not come; more than the depth, as people forget some."""
TOO_DEEP: Final = f"Its elements are nested more than {MAX_DEPTH} deep."
TAG: Final = re.compile(rb"<(/?)([a-zA-Z][a-zA-Z0-9]{0,20})")
# Those without an end, and those whose end is left out by custom; none of them nests by itself.
NEVER_DEEP: Final = frozenset(
    b"area base br col embed hr img input link meta source track wbr html head body p li dt dd tr td th thead tbody "
    b"tfoot option optgroup colgroup rt rp".split()
)
MAX_CELLS: Final = 50_000
HEADINGS: Final = "h1, h2, h3, h4, h5, h6, dt[id]"
PERMALINK: Final = re.compile(r"[¶§#\u200b\ue000-\uf8ff]+\s*$")
MARKED_LINE: Final = re.compile(r"(?<=\S)[ \t]*[¶§\u200b\ue000-\uf8ff]+[ \t]*$", re.MULTILINE)
ESCAPED: Final = re.compile(r"\\([_*\[\]>#`~-])")
AS_TYPED: Final = re.compile(rb"(<pre\b.*?</pre\s*>)", re.DOTALL | re.IGNORECASE)
# A term that has a place of its own is a heading: a function of a reference, an entry of a glossary.
TERM: Final = re.compile(rb"<dt\b([^<>]*)>(.*?)</dt\s*>", re.DOTALL | re.IGNORECASE)
TERM_WITH_PLACE: Final = re.compile(rb"<dt\b[^<>]*\bid\s*=", re.IGNORECASE)
LIST_OF_TERMS: Final = re.compile(rb"<(/?)(?:dl|dt|dd)\b[^<>]*>", re.IGNORECASE)
ANY_TAG: Final = re.compile(rb"<[^<>]*>")
LANGUAGE: Final = re.compile(r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8})*$")


def load_html(content: bytes, *, name: str) -> Loaded:
    """`name` is the page's address, to which its links are relative."""
    _check_source(content)
    tree = LexborHTMLParser(content)
    _check_tree(tree)
    robots = _robots(tree)
    text = trafilatura.extract(
        _laid_out(content), output_format="markdown", include_comments=False, include_tables=True, favor_recall=True
    )
    title = _title(tree)
    if not text:
        raise LoadError("It holds no text that stands apart from its menus. Pages made by scripts cannot be read.")
    return checked(
        Loaded(
            title=title or name,
            sections=list(sections_of(ESCAPED.sub(r"\1", MARKED_LINE.sub("", text)), _anchors(tree))),
            language=_language(tree),
            dated=_dated(tree),
            links=[] if "nofollow" in robots else _links(tree, name),
            canonical_url=_canonical(tree, name),
            may_follow="nofollow" not in robots,
            may_index="noindex" not in robots,
        )
    )


def _laid_out(content: bytes) -> bytes:
    """The page without the line ends that only wrapped its source, and with terms that can be linked to as headings."""
    parts = AS_TYPED.split(content)
    parts[::2] = [b" ".join(part.split(b"\n")) for part in parts[::2]]
    flowing = b"".join(parts)
    if not TERM_WITH_PLACE.search(flowing):
        return flowing
    return LIST_OF_TERMS.sub(rb"<\1div>", TERM.sub(_as_heading, flowing))


def _as_heading(term: re.Match[bytes]) -> bytes:
    words = ANY_TAG.sub(b"", term.group(2))
    return b"<h6>" + words + b"</h6>" if TERM_WITH_PLACE.match(term.group()) else b"<p>" + words + b"</p>"


def _check_source(content: bytes) -> None:
    """Before any parser sees it: all of them take a time that grows by the square of the depth."""
    if content.count(b"<") > MAX_NODES:
        raise LoadError(f"It has more than {MAX_NODES:,} elements.")
    depth = 0
    for closing, name in TAG.findall(content):
        if name.lower() not in NEVER_DEEP:
            depth = max(0, depth - 1) if closing else depth + 1
            if depth > MAX_OPEN:
                raise LoadError(TOO_DEEP)


def _check_tree(tree: LexborHTMLParser) -> None:
    if len(tree.css("td, th")) > MAX_CELLS:
        raise LoadError(f"It holds tables of more than {MAX_CELLS:,} cells. Give them as CSV.")
    if _is_deep(tree):
        raise LoadError(TOO_DEEP)


def _is_deep(tree: LexborHTMLParser) -> bool:
    """Walks without calling itself: the depth is what is in doubt."""
    node, depth = tree.root, 0
    while node is not None:
        if node.child is not None:
            node, depth = node.child, depth + 1
            if depth > MAX_DEPTH:
                return True
            continue
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
            if depth <= 0:
                return False
        node = node.next if node is not None else None
    return False


def _title(tree: LexborHTMLParser) -> str:
    for selector, attribute in (('meta[property="og:title"]', "content"), ("title", ""), ("h1", "")):
        node = tree.css_first(selector)
        if node is not None:
            text = (node.attributes.get(attribute) or "") if attribute else node.text()
            if text.strip():
                return one_line(text)
    return ""


def _language(tree: LexborHTMLParser) -> str:
    node = tree.css_first("html")
    declared = (node.attributes.get("lang") or "").strip() if node is not None else ""
    return declared.replace("_", "-")[:16] if LANGUAGE.match(declared) else ""


def _robots(tree: LexborHTMLParser) -> str:
    nodes = tree.css('meta[name="robots" i], meta[name="mia" i]')
    said = ",".join(str(node.attributes.get("content") or "") for node in nodes).lower()
    return "noindex,nofollow" if "none" in re.split(r"[\s,]+", said) else said


def _dated(tree: LexborHTMLParser) -> str:
    for selector, attribute in (
        ('meta[property="article:modified_time"]', "content"),
        ('meta[property="article:published_time"]', "content"),
        ("time[datetime]", "datetime"),
    ):
        node = tree.css_first(selector)
        if node is not None and node.attributes.get(attribute):
            return str(node.attributes[attribute])[:32]
    return ""


def _anchors(tree: LexborHTMLParser) -> dict[str, str]:
    """The place of each heading by its text: its own id, that of a mark inside it, or of the section around it."""
    places: dict[str, str] = {}
    for node in tree.css(HEADINGS):
        text = plain(one_line(PERMALINK.sub("", node.text()), MAX_HEADING_CHARS))
        inner = node.css_first("[id]")
        parent = node.parent
        around = parent.attributes.get("id") if parent is not None and parent.tag in {"section", "article"} else None
        place = node.attributes.get("id") or (inner.attributes.get("id") if inner is not None else None) or around
        if text and place and len(place) < 150:
            places.setdefault(text, f"#{place}")
    return places


def _links(tree: LexborHTMLParser, address: str) -> list[str]:
    base = tree.css_first("base[href]")
    start = urljoin(address, base.attributes.get("href") or "") if base is not None else address
    found: dict[str, None] = {}
    for node in tree.css("a[href]"):
        if "nofollow" not in (node.attributes.get("rel") or ""):
            try:
                found[urljoin(start, (node.attributes.get("href") or "").strip())] = None
            except ValueError:
                continue  # such as http://[ in somebody's page
        if len(found) >= MAX_LINKS:
            break
    return list(found)


def _canonical(tree: LexborHTMLParser, address: str) -> str:
    node = tree.css_first('link[rel="canonical"]')
    try:
        return urljoin(address, node.attributes.get("href") or "") if node is not None else ""
    except ValueError:
        return ""
