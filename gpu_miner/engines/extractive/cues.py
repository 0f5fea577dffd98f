"""What speaks for a sentence beside its words: names of programs, definitions, prose instead of fragments."""

import re
from dataclasses import dataclass
from functools import lru_cache

from gpu_miner.engines.extractive.words import fold, runs

# "functools.lru_cache", "asn1_create_element()", "removePrefix", "--no-verify".
_NAME = re.compile(r"(?<!\S)--?[a-z][\w-]*|[A-Za-z_]\w*(?:(?:\.|::|_|->)\w+)+|\w+(?=\(\))|\b[a-z]+[A-Z]\w+", re.ASCII)
_NAME_PARTS = re.compile(r"[^\W_]+")
_JOINT = r"[\W_]{0,2}"
_SYMBOLS = re.compile(r"[=<>{}\[\]();_|\\#&%^~]")
_DEFINITION = re.compile(
    r"^\W*(?:so |and |please |tell me )?(?:what(?:'s| is| are| does| do)\b|who (?:is|are)\b|define\b|explain\b"
    r"|qu'est[- ]ce qu|c'est quoi|à quoi sert|was (?:ist|sind|macht|bedeutet)\b|wer ist\b|wozu\b"
    r"|qu[eé] (?:es|son|hace|significa)\b|qui[eé]n es\b|(?:che )?cos[a']? ?(?:è|sono|fa)\b|o que (?:é|são|faz)\b"
    r"|wat (?:is|zijn|doet)\b|wie is\b|что (?:такое|делает)\b|кто такой|什么是|何ですか)"
    r"|(?:是什么|とは|って何)\S{0,6}$",
    re.IGNORECASE,
)
_COPULA = re.compile(
    r"\b(?:is|are|means|makes|provides?|defines?|implements?|compress\w*|contains?|refers?|describes?|ist|sind|bedeutet|est|sont"
    r"|sert|es|son|è|sono|é|são|zijn|betekent)\b|[—–:]|это|является|是|とは|は",
    re.IGNORECASE,
)
_TERMINAL = re.compile(r"[.!?…。！？][\"”’»)\]]*$")

SYMBOL_SHARE = 0.12
MAX_SUBJECT_WORDS = 6
SHORTEST_NAME = 4


@dataclass(frozen=True)
class Name:
    """A name as programs write it: how to find it in folded text, however its parts are joined, and its parts."""

    pattern: re.Pattern[str]
    parts: frozenset[str]


def names_in(question: str) -> list[Name]:
    found: list[Name] = []
    for written in _NAME.findall(question):
        parts = _NAME_PARTS.findall(fold(written))
        if written.startswith("-"):
            found.append(Name(re.compile(rf"(?<![\w-]){re.escape(fold(written))}(?![\w-])"), frozenset(parts)))
            continue
        last = _after_dot(written)
        # "lru_cache" is meant where "functools.lru_cache" was said.
        starts = [0, last] if 0 < last < len(parts) and len("".join(parts[last:])) >= SHORTEST_NAME else [0]
        for start in starts:
            joined = _JOINT.join(re.escape(part) for part in parts[start:])
            found.append(Name(re.compile(rf"(?<![^\W_]){joined}(?![^\W_])"), frozenset(parts[start:])))
    return found


def _after_dot(name: str) -> int:
    """How many parts stand before the last dot."""
    return len(_NAME_PARTS.findall(name.rpartition(".")[0]))


@lru_cache(maxsize=256)
def wants_definition(question: str) -> bool:
    return bool(_DEFINITION.search(question))


@lru_cache(maxsize=4096)
def subject_of(sentence: str) -> frozenset[str]:
    """The words before the verb of a sentence that says what something is or does; none of any other."""
    verb = _COPULA.search(sentence)
    words = runs(sentence[: verb.start()]) if verb else []
    return frozenset(words) if 0 < len(words) <= MAX_SUBJECT_WORDS else frozenset()


def is_prose(sentence: str) -> bool:
    """Not a line of a program or a table of signs."""
    return len(_SYMBOLS.findall(sentence)) <= SYMBOL_SHARE * len(sentence)


def is_lead_in(sentence: str) -> bool:
    """It announces what comes after it and says little itself."""
    return sentence.endswith((":", "："))


def is_ended(sentence: str) -> bool:
    return bool(_TERMINAL.search(sentence))
