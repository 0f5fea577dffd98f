"""Which language a text is in."""

from __future__ import annotations

import threading
from functools import cache
from typing import Final

from py3langid.langid import MODEL_FILE, LanguageIdentifier

KNOWN: Final = frozenset(
    {
        *("ar", "bg", "bn", "ca", "cs", "da", "de", "el", "en", "es", "et", "fa", "fi", "fr", "he", "hi", "hr", "hu"),
        *("id", "it", "ja", "ko", "lt", "lv", "nl", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sv", "th", "tr", "uk"),
        *("vi", "zh"),
    }
)
SURE: Final = 0.7
SHORTEST: Final = 3
MAX_CHARS: Final = 2000

_loading = threading.Lock()


def detect(text: str, *, likely: str = "") -> str:
    """Its ISO 639-1 code; `likely` where the text is too short to tell, '' where nothing is likely."""
    text = text[:MAX_CHARS].strip()
    if sum(char.isalpha() for char in text) < SHORTEST:
        return likely
    language, probability = _identifier().classify(text)
    return str(language) if probability >= SURE else likely


@cache
def _identifier() -> LanguageIdentifier:
    with _loading:
        identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
        identifier.set_languages(KNOWN)
        return identifier
