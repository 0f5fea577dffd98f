"""Words as they were meant: without the tricks that hide them from a rule and not from a model."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

INVISIBLE: Final = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\U000e0000-\U000e007f]")
SPACED: Final = re.compile(r"(?<!\w)(?:[^\W\d_][ .*_-]){3,}[^\W\d_](?!\w)")
WITH_FIGURES: Final = re.compile(r"(?<!\S)(?=\S*[a-z])(?=\S*[0134578@$])[a-z0134578@$]{4,}(?=[\s.,:;!?]|$)")
FIGURES: Final = str.maketrans("0134578@$", "oieastbas")
# Letters of other alphabets that look like ours, in words that mix them.
LOOKALIKES: Final = str.maketrans("аеорсухіјѕԁһαεορτυν", "aeopcyxijsdhaeoptuv")
MIXED: Final = re.compile(r"\b(?=\w*[a-z])(?=\w*[а-яіјѕԁһα-ω])\w+\b")
MAX_CHARS: Final = 8_000


def normal(text: str) -> str:
    """Lower case, without accents and invisible marks; spaced out and disguised words written plainly."""
    text = INVISIBLE.sub("", unicodedata.normalize("NFKC", text[:MAX_CHARS])).casefold()
    text = MIXED.sub(lambda match: match.group().translate(LOOKALIKES), text)
    text = SPACED.sub(lambda match: re.sub(r"[ .*_-]", "", match.group()), text)
    text = WITH_FIGURES.sub(lambda match: match.group().translate(FIGURES), text)
    decomposed = unicodedata.normalize("NFD", text)
    plain = "".join(char for char in decomposed if unicodedata.category(char) != "Mn")
    return " ".join(unicodedata.normalize("NFC", plain).replace("’", "'").split())
