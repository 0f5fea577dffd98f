"""A business's facts cut into sentences that can be quoted, each knowing the heading or question it stands under."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from gpu_miner.engines.base import text_of
from gpu_miner.protocol import JsonObject

_FACTS = re.compile(r"^[ \t]*<facts>[ \t]*$(.*?)^[ \t]*</facts>[ \t]*$", re.DOTALL | re.MULTILINE | re.IGNORECASE)
_INLINE_FACTS = re.compile(r"<facts>(.*?)</facts>", re.DOTALL | re.IGNORECASE)
_BULLET = re.compile(r"^\s*(?:[-*•–·▪]|\d{1,2}[.)])\s+")
_HASHES = re.compile(r"^\s*#{1,6}\s+")
_MARKER = re.compile(r"^\s*\[(\d{1,3})\]\s*")
_ASKED = re.compile(
    r"^\s*(?:Q|F|P|D|V|В|问|質問|Question|Frage|Pregunta|Domanda|Pergunta|Vraag|Вопрос)\s*\d*\s*[:：]\s*", re.IGNORECASE
)
_TOLD = re.compile(
    r"^\s*(?:A|R|О|答|回答|Answer|Antwort|Antwoord|R[ée]ponse|Respuesta|R[ei]sposta|Ответ)\s*\d*\s*[:：]\s*",
    re.IGNORECASE,
)
_EMPHASIS = re.compile(r"(\*\*|__|`)(.+?)\1")
_SLANTED = re.compile(r"(?<![\w*])\*(\w(?:[^*\n]*\w)?)\*(?![\w*])")
_FENCE = re.compile(r"^\s*(?:```|~~~)")
# What is typed into a machine is no sentence.
_TYPED = re.compile(r"^\s*(?:>>>|\.\.\.\s|\$\s|#include\b|import \w+$|from \S+ import )")
_SIGNATURE = re.compile(r"^(?:[\w@*]+\s){0,5}[\w@*]+[._]\w+\s?\(")
_LABEL = re.compile(r"^\w[\w -]{0,30}[:：]\s")
_PARAMETER = re.compile(r"^\w[\w -]{0,30}:\s[^\WA-Z\d_]")
_PATH = re.compile(r"\s*›\s*")
_LINK = re.compile(r"\[([^\]]+)\]\((https?://[^)\s]+|mailto:[^)\s]+)\)")
_SENTENCE_END = re.compile(
    r"([.!?…][\"”’»)\]]*)\s+(?=[\"„“«¿¡(\[]*[A-ZÀ-ÞЀ-Я0-9])|([。！？][」』）]*)",
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:[Ee]\.g|[Ii]\.e|z\.\s?B|d\.\s?h|u\.\s?a|bzw|ca|approx|etc|Mr|Mrs|Ms|Dr|St|Nr|No|Art|inkl|zzgl|p\.\s?ex|env|Sr|Sra|aprox|núm"
    r"|tel|Tel|max|min|vs|resp|bijv|т\.\s?е|т\.\s?д|ул|руб|[A-ZÀ-Þ])|[ap]\.m)\.$"
)
_TERMINAL = re.compile(r"[.!?…。！？:：;；][\"”’»)\]]*$")
_QUESTION = re.compile(r"[?？؟]\s*[\"”’»)\]]*$")
_INSTRUCTION = re.compile(
    r"^(?:you are|you must|your (?:task|role|job|name)|answer\b|always\b|never\b|do not\b|don't\b|if you\b"
    r"|use (?:only|the)\b|reply\b|respond\b|be (?:polite|brief|concise|friendly))",
    re.IGNORECASE,
)

TRUSTED_ROLES = frozenset({"system", "developer", "tool"})
MAX_HEADING_CHARS = 70
MAX_HEADING_WORDS = 9
FEWEST_WORDS_TO_OPEN = 5
# A pasted page wrapped by hand has full lines; a shorter line ended where its writer wanted it to.
WRAPPED_LINE_CHARS = 55


@dataclass(frozen=True)
class Sentence:
    """One quotable sentence: its place, the block it belongs to, what it stands under, and its source's number.

    `section` are its headings alone, `topic` is the nearest of them, `depth` how many sentences come before it there.
    An aside does not say what its heading is about: a note ("New in version 3.4."), a parameter.
    """

    text: str
    position: int
    block: int
    context: str = ""
    source: int = 0
    section: str = ""
    topic: str = ""
    depth: int = 0
    is_aside: bool = False


@dataclass(frozen=True)
class _Block:
    """A paragraph, a bullet or an answer, with the headings above it."""

    section: str
    topic: str
    text: str
    source: int
    lead: str = ""


@dataclass(frozen=True)
class Material:
    """What a job gives to quote from, and what it asks."""

    facts: str
    question: str
    earlier: str = ""


def material_of(messages: Iterable[JsonObject]) -> Material:
    """Facts from <facts> blocks wherever they stand; without one, all that the system messages say."""
    listed = list(messages)
    asked = [text_of(message) for message in listed if message.get("role") == "user"]
    spoken = [_without_facts(text).strip() for text in asked]
    trusted = [text_of(message) for message in listed if message.get("role") in TRUSTED_ROLES]
    facts = _trusted_facts(trusted) or "\n\n".join(_blocks_in(_INLINE_FACTS, asked[-1:])) or _system_text(trusted)
    question = spoken[-1] if spoken else ""
    return Material(facts, question, spoken[-2] if len(spoken) > 1 else "")


@lru_cache(maxsize=64)
def sentences_of(facts: str) -> tuple[Sentence, ...]:
    """All quotable sentences in order; questions and headings are context of what follows them."""
    found: list[Sentence] = []
    for number, block in enumerate(_blocks(facts)):
        asked = ""
        for part in _split(block.text):
            if _QUESTION.search(part):
                asked = part
            elif any(char.isalnum() for char in part):
                found.append(_sentence(part, number, block, asked, found))
    return tuple(found)


def _sentence(text: str, number: int, block: _Block, asked: str, before: list[Sentence]) -> Sentence:
    topic = asked or block.topic
    section = f"{block.section} {asked}".strip()
    is_aside = len(text.split()) < FEWEST_WORDS_TO_OPEN or bool(_PARAMETER.match(block.text))
    context = f"{block.section} {asked} {block.lead}".strip()
    last = before[-1] if before else None
    depth = 0
    if last is not None and (last.topic, last.section) == (topic, section):
        depth = last.depth + (not last.is_aside)
    return Sentence(text, len(before), number, context, block.source, section, topic, depth, is_aside)


def _trusted_facts(texts: list[str]) -> str:
    """Only blocks whose marks stand on lines of their own: a rule may speak of <facts> without holding any."""
    return "\n\n".join(_blocks_in(_FACTS, texts))


def _blocks_in(pattern: re.Pattern[str], texts: list[str]) -> list[str]:
    found = (block.strip() for text in texts for block in pattern.findall(text))
    return [block for block in found if block]


def _without_facts(text: str) -> str:
    return _INLINE_FACTS.sub("", text)


def _system_text(texts: list[str]) -> str:
    """All that is no rule; nothing where the rules speak of a block that is not there, since rules are not facts."""
    if any("<facts>" in text for text in texts):
        return ""
    lines = "\n\n".join(texts).splitlines()
    return "\n".join(line for line in lines if not _INSTRUCTION.match(line.strip()))


def _blocks(facts: str) -> Iterator[_Block]:
    """Paragraphs, bullets and answers, each with the headings and the question above it and the number of its source.

    A line that begins with a number in brackets opens that source; where text follows at once, it is the title.
    """
    title = heading = asked = lead = ""
    source = 0
    lines = [*_joined_lines(facts), ""]
    for number, (line, following) in enumerate(zip(lines, [*lines[1:], ""], strict=True)):
        text = _plain(line)
        topic = _nearest(asked or heading or title)
        if numbered := _MARKER.match(line):
            source, title, heading, asked = int(numbered.group(1)), "", "", ""
        if numbered and following.strip() and not _MARKER.match(following):
            title = text
        elif not text:
            # The blank line after a question or a lead belongs to its form; a second block does not.
            lead = lead if lead and _BULLET.match(following) else ""
        elif _HASHES.match(line) or _is_heading(lines, number):
            if _QUESTION.search(text):
                asked = text
            else:
                heading, asked = text.rstrip(":："), ""
            lead = ""
        elif _QUESTION.search(text) and len(_split(text)) == 1:
            asked, lead = text, ""
        elif _BULLET.match(line):
            yield _Block(f"{title} {heading} {asked}", topic, text, source, lead)
        else:
            lead = text if text.endswith((":", "：")) else ""
            if not (lead and _BULLET.match(following)):
                yield _Block(f"{title} {heading} {asked}", topic, text, source)


def _nearest(heading: str) -> str:
    """Of "Shop › Orders › Oh dear! Where is my parcel?" what stands last."""
    return (_split(_PATH.split(heading)[-1]) or [""])[-1]


def _joined_lines(facts: str) -> list[str]:
    joined: list[str] = []
    for line in _prose(facts):
        before = joined[-1] if joined else ""
        is_open = len(before) >= WRAPPED_LINE_CHARS and not _TERMINAL.search(before) and not _MARKER.match(before)
        goes_on = is_open and line and not _starts_anew(line)
        if goes_on:
            joined[-1] = f"{before} {line.strip()}"
        else:
            joined.append(line)
    return joined


def _prose(facts: str) -> Iterator[str]:
    """The lines but for those of programs; where they were, a paragraph ends."""
    is_fenced = False
    for line in (raw.rstrip() for raw in facts.splitlines()):
        is_mark = bool(_FENCE.match(line))
        is_fenced = is_fenced != is_mark
        yield "" if is_fenced or is_mark or _TYPED.match(line) else line


def _starts_anew(line: str) -> bool:
    return any(mark.match(line) for mark in (_BULLET, _HASHES, _ASKED, _TOLD, _MARKER, _SIGNATURE, _LABEL))


def _plain(line: str) -> str:
    """A line without its marks: bullets, hashes, "Q:" and "A:", emphasis, link syntax."""
    text = _MARKER.sub("", _HASHES.sub("", _BULLET.sub("", line)))
    text = _TOLD.sub("", _ASKED.sub("", text))
    text = _LINK.sub(r"\1 (\2)", _SLANTED.sub(r"\1", _EMPHASIS.sub(r"\2", text)))
    return " ".join(text.replace("|", " ").split())


def _is_heading(lines: list[str], number: int) -> bool:
    """A short line without an end, above text; several in a row are a list of facts."""
    line, rest = lines[number], lines[number + 1 :]
    following = next((other for other in rest if other.strip()), "")
    if not following:
        return False
    if is_signature(line) or _PATH.search(line):
        return True
    if not _looks_like_heading(line):
        return False
    return _plain(line).endswith(("?", "？")) or not (rest[0].strip() and _looks_like_heading(rest[0]))


def is_signature(line: str) -> bool:
    """A line that names a function with what it takes, as references put it above its description."""
    return bool(_SIGNATURE.match(line)) and not re.search(r"[.!?]$|=>|['\"]", line)


def _looks_like_heading(line: str) -> bool:
    text = _plain(line)
    if _BULLET.match(line) or len(text) > MAX_HEADING_CHARS or len(text.split()) > MAX_HEADING_WORDS:
        return False
    if _QUESTION.search(text):
        return True
    # A value after a colon ("Phone: 030 123") is a fact; a bare word before a paragraph is a heading.
    return not _TERMINAL.search(text) and not any(char.isdigit() or char in ":：@" for char in text)


def _split(text: str) -> list[str]:
    parts: list[str] = []
    for part in _SENTENCE_END.sub(r"\1\2\n", text).split("\n"):
        if parts and _ABBREVIATION.search(parts[-1]):
            parts[-1] = f"{parts[-1]} {part}"
        elif part.strip():
            parts.append(part.strip())
    return parts
