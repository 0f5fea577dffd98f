"""Which language a text is in, and which of its words carry no meaning of their own."""

import re
from collections import Counter

from gpu_miner.engines.extractive.wordlists import word_list
from gpu_miner.engines.extractive.words import runs

LANGUAGES = ("en", "fr", "de", "es", "it", "pt", "nl", "ru", "zh", "ja")

_MARKS = {
    "fr": re.compile(r"[êœçù]|\b[ldjcnqs]['’]|\bqu['’]|\best-ce\b", re.IGNORECASE),
    "de": re.compile(r"[ßäöü]", re.IGNORECASE),
    "es": re.compile(r"[ñ¿¡]|ci[oó]n(?:es)?\b", re.IGNORECASE),
    "it": re.compile(r"\b(?:perché|è|dell|nell|all|c)['’]|\bè\b|zion[ei]\b", re.IGNORECASE),
    "pt": re.compile(r"[ãõ]|ção\b|ções\b", re.IGNORECASE),
    "nl": re.compile(r"ij|aa[nrt]\b|\bge\w+d\b", re.IGNORECASE),
}
_KANA = re.compile(r"[\u3040-\u30ff]")
_HAN = re.compile(r"[\u4e00-\u9fff]")
_CYRILLIC = re.compile(r"[\u0400-\u04ff]")
_LATIN = re.compile(r"[a-z]", re.IGNORECASE)

# The commonest words tell the language; together with the fillers of questions they are skipped in the search.
COMMON_WORDS = {language: word_list(f"common.{language}") for language in LANGUAGES}
SKIPPED_WORDS = {language: COMMON_WORDS[language] | word_list(f"filler.{language}") for language in LANGUAGES}


def script_language(text: str) -> str:
    """The language its letters alone give away: ja, zh or ru; empty for Latin letters."""
    latin = len(_LATIN.findall(text))
    kana, han, cyrillic = (len(pattern.findall(text)) for pattern in (_KANA, _HAN, _CYRILLIC))
    if kana and kana + han >= latin / 3:
        return "ja"
    if han and han >= latin / 3:
        return "zh"
    return "ru" if cyrillic > latin else ""


def scores(text: str) -> Counter[str]:
    """How much speaks for each language with Latin letters."""
    points: Counter[str] = Counter()
    for word in runs(text):
        for language, common in COMMON_WORDS.items():
            if word in common:
                # A one-letter word stands in half of all languages.
                points[language] += 2 if len(word) > 1 else 1
            elif word in SKIPPED_WORDS[language]:
                points[language] += 2
    for language, pattern in _MARKS.items():
        points[language] += 2 * min(3, len(pattern.findall(text)))
    return points


def detect(text: str, also: Counter[str] | None = None) -> str:
    """The text's language; empty when nothing decides between two. `also` brings further points."""
    by_script = script_language(text)
    if by_script:
        return by_script
    points = scores(text) + (also or Counter())
    ranking = points.most_common(2)
    if not ranking or ranking[0][1] == 0 or (len(ranking) > 1 and ranking[0][1] == ranking[1][1]):
        return ""
    return ranking[0][0]
