"""Passages numbered for a prompt, and the numbers in an answer held against them.

A marker stays only where the words of its sentence are found in its passage. Retrieved text comes from pages that
anybody may have written: it goes into a prompt as quoted material, without anything that could pass for its frame.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict

from knowledge.followups import content_words
from knowledge.languages import detect

MARKER: Final = re.compile(r"[ \t]*\[(\d{1,2}(?:\s*,\s*\d{1,2})*)\]")
SENTENCE: Final = re.compile(
    r"(?:[^.!?。！？\n]|[.!?](?=[^\W_]))*(?:[.!?。！？]+[\"”“’»«›」』)\]]*|\n|$)"
    r"(?:[ \t]*\[\d{1,2}(?:\s*,\s*\d{1,2})*\])*[ \t]*"
)
QUOTED: Final = re.compile(r"[“„«»「『‹\"]([^“”„«»「」『』‹›\"]+)[”“»«」』›\"]")
CHAT_TEMPLATE: Final = re.compile(r"<(?=\s*[|/!?a-zA-Z])|\[/?(?:INST|SYS)\]", re.IGNORECASE)
INVISIBLE: Final = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
STEM_CHARS: Final = 5
OVERLAP_NEEDED: Final = 0.4
OVERLAP_TO_ATTRIBUTE: Final = 0.75
NEARLY_AS_GOOD: Final = 0.95
FEWEST_WORDS: Final = 3
MOST_ATTRIBUTED: Final = 3
SNIPPET_CHARS: Final = 240


class Citation(TypedDict):
    """A source under an answer; `index` is its number in the text."""

    index: int
    title: str
    url: str
    snippet: str


@dataclass(frozen=True)
class Source:
    """A numbered passage as it was given to the model."""

    index: int
    chunk_id: int
    title: str
    url: str
    text: str
    language: str = ""

    @property
    def citation(self) -> Citation:
        snippet = " ".join(self.text.split())
        short = snippet if len(snippet) <= SNIPPET_CHARS else f"{snippet[: SNIPPET_CHARS - 1].rsplit(' ', 1)[0]}…"
        return {"index": self.index, "title": self.title, "url": self.url, "snippet": short}


@dataclass(frozen=True)
class Checked:
    """An answer without the markers that do not hold, and what it cites."""

    text: str
    citations: list[Citation]
    dropped: int = 0


def written_out(sources: Iterable[Source]) -> str:
    """The passages as a prompt holds them."""
    return "\n\n".join(f"[{source.index}] {neutral(source.title)}\n{neutral(source.text)}" for source in sources)


def neutral(text: str) -> str:
    """Text that cannot be taken for a marker, for the frame of a prompt or for what a chat template writes itself."""
    text = CHAT_TEMPLATE.sub(lambda found: "‹" if found.group() == "<" else "", INVISIBLE.sub("", text))
    return MARKER.sub(lambda found: f" ({found.group(1)})", text).strip()


def check(answer: str, sources: Sequence[Source]) -> Checked:
    """Drops markers that name no passage or that their sentence does not bear out.

    An answer without any marker cites the passages that its sentences are plainly taken from.
    """
    known = {source.index: source for source in sources}
    cited: dict[int, Source] = {}
    dropped = 0
    parts: list[str] = []
    for sentence in SENTENCE.findall(answer):
        text, numbers, lost = _checked_sentence(sentence, known)
        cited |= {number: known[number] for number in numbers}
        dropped += lost
        parts.append(text)
    if not cited and not dropped:
        cited = {source.index: source for source in _taken_from(answer, sources)}
    text = "".join(parts) if dropped else answer
    return Checked(text.rstrip() if dropped else text, [cited[number].citation for number in sorted(cited)], dropped)


def _checked_sentence(sentence: str, known: Mapping[int, Source]) -> tuple[str, list[int], int]:
    """The sentence with the markers that hold, their numbers, and how many were dropped."""
    bare = MARKER.sub("", sentence)
    kept: list[int] = []
    lost = 0

    def judged(found: re.Match[str]) -> str:
        nonlocal lost
        numbers = [int(number) for number in found.group(1).split(",")]
        good = [number for number in numbers if number in known and bears_out(bare, known[number])]
        lost += len(numbers) - len(good)
        kept.extend(good)
        return f" [{', '.join(map(str, good))}]" if good else ""

    text = MARKER.sub(judged, sentence)
    return (text if lost else sentence), kept, lost


def bears_out(sentence: str, source: Source) -> bool:
    """Whether a passage holds enough of a sentence's words; across languages, its numbers and quotations have to do."""
    said, held = stems(sentence), stems(f"{source.title} {source.text}")
    if not said:
        return False
    has_its_numbers = {stem for stem in said if any(char.isdigit() for char in stem)} <= held
    if has_its_numbers and _is_quoted(sentence, held):
        return True
    if source.language and _is_in_another_language(sentence, source):
        return has_its_numbers
    return len(said & held) / len(said) >= OVERLAP_NEEDED


def _is_quoted(sentence: str, held: frozenset[str]) -> bool:
    """Whether it quotes the passage, whatever language the words around the quotation are in."""
    quotes = [stems(quote) for quote in QUOTED.findall(sentence)]
    return any(len(said) >= FEWEST_WORDS and len(said & held) >= OVERLAP_TO_ATTRIBUTE * len(said) for said in quotes)


def _is_in_another_language(sentence: str, source: Source) -> bool:
    spoken = detect(sentence)
    return bool(spoken) and spoken != source.language[:2]


def _taken_from(answer: str, sources: Sequence[Source]) -> list[Source]:
    """Passages that hold most of the words of a whole sentence of the answer."""
    sentences = [stems(part) for sentence in SENTENCE.findall(answer) for part in (sentence, *QUOTED.findall(sentence))]
    held = {source.index: stems(f"{source.title} {source.text}") for source in sources}
    taken: dict[int, Source] = {}
    for said in sentences:
        shares = {source.index: len(said & held[source.index]) / len(said) for source in sources if said}
        best = max(shares.values(), default=0.0)
        if len(said) >= FEWEST_WORDS and best >= OVERLAP_TO_ATTRIBUTE:
            # Pages on one topic share many words: only those that hold as much as the best are meant.
            taken |= {source.index: source for source in sources if shares[source.index] >= NEARLY_AS_GOOD * best}
    return [taken[index] for index in sorted(taken)][:MOST_ATTRIBUTED]


def stems(text: str) -> frozenset[str]:
    """The beginnings of the words that mean something: enough to see that two texts speak of the same."""
    return frozenset(
        word if any(char.isdigit() for char in word) else word[:STEM_CHARS] for word in content_words(text)
    )
