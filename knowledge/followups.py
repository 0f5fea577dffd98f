"""Questions that lean on what was said before, made to stand alone: "and for children?" asks about something.

No model: the words that carried the visitor's last questions are added where a question has few of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from knowledge.embeddings.hashed import UNSPACED, stop_words, words_of

ENOUGH_WORDS: Final = 4
FEW_WORDS: Final = 2
MOST_CARRIED: Final = 8
LOOKED_BACK: Final = 2
MAX_WORD_CHARS: Final = 60

LEANING: Final = frozenset(
    words_of(
        "it its that this these those they them there one ones and also then same else other "
        "das dies diese dieser dieses es sie er ihn ihm dort und auch dann davon dafür damit dabei "
        "cela ça celui celle ceux il elle ils elles les y en et aussi alors "
        "eso esto esa ese ello ella ellos lo la y también entonces allí "
        "questo questa quello quella ciò lo la ne ci e anche allora "
        "isso isto essa esse ele ela lá e também então "
        "dat dit die deze het er en ook dan это этот эта эти он она они там и тоже"
    )
)
"""Words that point back, in the languages that the stop words cover."""


def standing_alone(question: str, earlier: Sequence[str]) -> str:
    """The question, with words of the visitor's earlier ones (oldest first) where it needs them."""
    own = content_words(question)
    if not earlier or len(own) >= ENOUGH_WORDS or (len(own) > FEW_WORDS and not _leans(question)):
        return question
    carried: list[str] = []
    for message in reversed(earlier[-LOOKED_BACK:]):
        carried += [word for word in _salient(message) if word.casefold() not in {*own, *map(str.casefold, carried)}]
    return " ".join([question, *carried[:MOST_CARRIED]])


def content_words(text: str) -> list[str]:
    """Words that mean something by themselves, without case and accents."""
    return [word for word in words_of(text) if word not in stop_words() and (len(word) > 1 or UNSPACED.match(word))]


def _leans(question: str) -> bool:
    return not LEANING.isdisjoint(words_of(question))


def _salient(message: str) -> list[str]:
    """As they were written, since stemming needs their accents; scripts without spaces go whole."""
    words = [word.strip(".,;:!?¿¡\"'()«»„“”…") for word in message.split()]
    return [word for word in words if len(word) <= MAX_WORD_CHARS and content_words(word)]
