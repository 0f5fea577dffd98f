"""What speaks for a sentence beside its words: names of programs, definitions, prose instead of fragments."""

import re
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


def names_in(question: str) -> list[re.Pattern[str]]:
    """Finds each of the question's program names in folded text, however its parts are joined there."""
    found: list[re.Pattern[str]] = []
    for name in _NAME.findall(question):
        if name.startswith("-"):
            found.append(re.compile(rf"(?<![\w-]){re.escape(fold(name))}(?![\w-])"))
            continue
        parts = _NAME_PARTS.findall(fold(name))
        for start in range(len(parts)):
            # "lru_cache" is meant where "functools.lru_cache" was said.
            if start == 0 or (
                "." in name and len("".join(parts[start:])) >= SHORTEST_NAME and start == _after_dot(name)
            ):
                pattern = _JOINT.join(re.escape(part) for part in parts[start:])
                found.append(re.compile(rf"(?<![^\W_]){pattern}(?![^\W_])"))
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
