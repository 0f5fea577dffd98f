"""Text as comparable words: folded to plain letters, cut into words, CJK runs into pairs of characters."""

import re
import unicodedata
from functools import lru_cache

# Letters that decomposition leaves whole.
_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ł": "l", "ё": "е", "’": "'"})
_CJK = "\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uff66-\uff9f"
_RUN = re.compile(rf"[{_CJK}]+|[^\W_{_CJK}]+(?:[.,:][0-9]+)*")
_CJK_RUN = re.compile(rf"[{_CJK}]+")
# "e-mail" and "email", "Wi-Fi" and "wifi" are one word each.
_HYPHENED_LETTER = re.compile(r"\b(e|wi|u|x)-(?=[a-z])")
_HIRAGANA = re.compile(r"[\u3040-\u309f]+$")
# Characters that carry grammar and not meaning in Chinese questions and answers.
_ZH_GRAMMAR = frozenset("的了吗呢吧是我你您他们有和与或在请会能可以怎么什么样多少哪里个就都也把被对从到这那为")

MIN_STEM = 4
LONG_STEM = 6
MAX_ENDING = 3
LONG_ENDING = 5
MIN_COGNATE = 5
MAX_COGNATE_ENDING = 6


@lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """Lower case without accents, so that a visitor's hurried spelling meets the careful one."""
    decomposed = unicodedata.normalize("NFKD", text.casefold().translate(_LETTERS))
    # й and ё lose their marks as well; the same happens on both sides.
    plain = "".join(char for char in decomposed if not unicodedata.combining(char) or char in "\u3099\u309a")
    return unicodedata.normalize("NFC", plain)


def runs(text: str) -> list[str]:
    """Folded words, numbers whole ("9:30", "4.90"), and unbroken stretches of CJK characters."""
    return _RUN.findall(_HYPHENED_LETTER.sub(r"\1", fold(text)))


def is_cjk(run: str) -> bool:
    return bool(_CJK_RUN.match(run))


def words(text: str) -> list[str]:
    """Folded words; Chinese and Japanese become overlapping pairs, those of mere grammar left out."""
    found: list[str] = []
    for run in runs(text):
        found.extend(_pairs(run) if is_cjk(run) else [run])
    return found


def similarity(asked: str, told: str, *, same_language: bool) -> float:
    """How likely two words mean the same: 1 equal, less for another ending, 0 for different words."""
    if asked == told:
        return 1.0
    if asked[0].isdigit() or told[0].isdigit() or is_cjk(asked) or is_cjk(told):
        return 0.0
    shared = _shared_prefix(asked, told)
    ending = max(len(asked), len(told)) - shared
    if shared >= MIN_STEM and ending <= MAX_ENDING:
        # One inside the other ("open", "opening") is safer than two different endings ("store", "story").
        if shared == min(len(asked), len(told)) or shared >= LONG_STEM:
            return 0.9
        return 0.75 if shared > MIN_STEM else 0.5
    if shared == min(len(asked), len(told)) >= LONG_STEM and ending <= LONG_ENDING:
        # "implement" and "implementation".
        return 0.75
    if shared == min(len(asked), len(told)) >= 3 and ending == 1:
        return 0.9
    if not same_language and shared >= MIN_COGNATE and ending <= MAX_COGNATE_ENDING:
        return 0.6
    return 0.0


def _shared_prefix(one: str, other: str) -> int:
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length


def _pairs(run: str) -> list[str]:
    if len(run) == 1:
        return [] if run in _ZH_GRAMMAR or _HIRAGANA.match(run) else [run]
    pairs = (run[index : index + 2] for index in range(len(run) - 1))
    return [pair for pair in pairs if not _HIRAGANA.match(pair) and not _ZH_GRAMMAR.issuperset(pair)]
