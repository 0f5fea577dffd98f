"""Plain text and Markdown, by heading; what other loaders turn their content into."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from knowledge.loaders.base import MAX_HEADING_CHARS, MAX_HEADINGS, Loaded, LoadedSection, checked, one_line, title_of
from knowledge.loaders.detection import decoded

HEADING: Final = re.compile(r"(#{1,6})\s+(\S.*?)\s*#*\s*$")
UNDERLINE: Final = re.compile(r"(=|-)\1{2,}\s*$")
FENCE: Final = re.compile(r"\s{0,3}(```+|~~~+)")
FRONT_MATTER: Final = re.compile(r"\A---\s*\n(.*?)\n---\s*\n", re.DOTALL)
FRONT_MATTER_TITLE: Final = re.compile(r"^title:\s*[\"']?(.+?)[\"']?\s*$", re.MULTILINE)


def load_text(content: bytes, *, name: str) -> Loaded:
    """Plain text: one section, as it has no headings that a program could tell from words."""
    text = decoded(content).replace("\r\n", "\n")
    return checked(Loaded(title=title_of(name), sections=[LoadedSection((), text.strip())]))


def load_markdown(content: bytes, *, name: str) -> Loaded:
    text = decoded(content).replace("\r\n", "\n")
    front = FRONT_MATTER.match(text)
    named = FRONT_MATTER_TITLE.search(front.group(1)) if front else None
    sections = list(sections_of(text[front.end() :] if front else text))
    first = next((section.headings[0] for section in sections if section.headings), title_of(name))
    return checked(Loaded(title=one_line(named.group(1)) if named else first, sections=sections))


def sections_of(text: str, anchors: Mapping[str, str] | None = None) -> Iterator[LoadedSection]:
    """The text between headings, each with all the headings above it; `anchors` leads from a heading to its place."""
    path: list[tuple[int, str]] = []
    lines: list[str] = []
    for level, line in _lines(text):
        if level == 0:
            lines.append(line)
            continue
        yield from _section(path, lines, anchors)
        lines = []
        path = [*[item for item in path if item[0] < level], (level, one_line(line, MAX_HEADING_CHARS))]
    yield from _section(path, lines, anchors)


def _section(
    path: list[tuple[int, str]], lines: list[str], anchors: Mapping[str, str] | None
) -> Iterator[LoadedSection]:
    text = "\n".join(lines).strip()
    headings = tuple(heading for _level, heading in path[-MAX_HEADINGS:])
    if text:
        yield LoadedSection(headings, text, (anchors or {}).get(headings[-1], "") if headings else "")


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Each line with its level as a heading; 0 for words. What is fenced is never a heading."""
    fence = ""
    waiting: str | None = None
    for line in text.split("\n"):
        mark = FENCE.match(line)
        if mark and (not fence or line.strip().startswith(fence)):
            fence = "" if fence else mark.group(1)
        if waiting is not None and not fence and UNDERLINE.match(line) and waiting.strip():
            yield (1 if line.startswith("=") else 2), waiting.strip()
            waiting = None
            continue
        if waiting is not None:
            yield 0, waiting
        waiting = None
        heading = None if fence else HEADING.match(line)
        if heading:
            yield len(heading.group(1)), plain(heading.group(2))
        else:
            waiting = line
    if waiting is not None:
        yield 0, waiting


EMPHASIS: Final = re.compile(r"(\*\*|__|`)(.+?)\1")
LINK: Final = re.compile(r"!?\[([^\]]*)\]\([^)]*\)")


def plain(heading: str) -> str:
    """A heading without the marks that only change its look."""
    return EMPHASIS.sub(r"\2", LINK.sub(r"\1", heading))
