"""The zero-download embedder: words and character n-grams, hashed into a fixed number of dimensions.

It knows no meaning. Two texts are near where they share words or parts of words, so it finds "returning" for "return"
and a misspelt name, and never a synonym or a translation. It is what runs where no model is configured; full-text
search beside it carries most of the weight.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from knowledge.embeddings.base import Batch, EmbeddingModel, Vectors, unit

MODEL: Final = EmbeddingModel(provider="hashed", name="character-n-grams", version="1", dimensions=384)
GRAMS: Final = (3, 4)
GRAM_SHARE: Final = 0.7
STOP_WEIGHT: Final = 0.05
SHORT_WEIGHT: Final = 0.4
MAX_WORD_CHARS: Final = 48
MAX_CHARS: Final = 40_000
WORD: Final = re.compile(r"\w+", re.UNICODE)
# Scripts that put no space between words: every pair of neighbours stands for a word.
UNSPACED: Final = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+")

Hashes = NDArray[np.uint64]
Weights = NDArray[np.float64]

with np.errstate(over="ignore"):
    POWERS: Final[Hashes] = np.cumprod(
        np.full(MAX_WORD_CHARS + 1, 0x9E3779B97F4A7C15, dtype=np.uint64), dtype=np.uint64
    )


class HashedEmbedder:
    """Deterministic on every machine; about half a millisecond for a passage."""

    @property
    def model(self) -> EmbeddingModel:
        return MODEL

    def embed_passages(self, batch: Batch) -> Vectors:
        if not batch.texts:
            return np.zeros((0, MODEL.dimensions), dtype=np.float32)
        return np.stack([_vector(text) for text in batch.texts])

    def embed_query(self, text: str) -> Vectors:
        return _vector(text)


def words_of(text: str) -> list[str]:
    """Words without case and accents; pairs of characters in scripts without spaces."""
    plain = unicodedata.normalize("NFKD", text[:MAX_CHARS].casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char)) if not plain.isascii() else plain
    plain = unicodedata.normalize("NFC", plain)
    return [word[:MAX_WORD_CHARS] for word in WORD.findall(UNSPACED.sub(_paired, plain))]


def _paired(run: re.Match[str]) -> str:
    text = run.group()
    pairs = [text[at : at + 2] for at in range(len(text) - 1)] or [text]
    return f" {' '.join(pairs)} "


def _vector(text: str) -> Vectors:
    words = words_of(text)
    if not words:
        return _nothing()
    hashes, weights = _features(words)
    signs = np.where(hashes >> np.uint64(63), 1.0, -1.0)
    buckets = (hashes % np.uint64(MODEL.dimensions)).astype(np.int64)
    sums = np.bincount(buckets, weights=signs * weights, minlength=MODEL.dimensions)
    if not sums.any():
        return _nothing()
    vector: Vectors = unit(sums[np.newaxis].astype(np.float32))[0]
    return vector


def _nothing() -> Vectors:
    """Texts without any word are all alike."""
    vector = np.zeros(MODEL.dimensions, dtype=np.float32)
    vector[0] = 1.0
    return vector


def _features(words: list[str]) -> tuple[Hashes, Weights]:
    """Each distinct word once, weighted by the logarithm of its count, and its n-grams with a part of its weight."""
    distinct, counts = np.unique(np.array(words, dtype=object), return_counts=True)
    codes, starts, lengths = _laid_out(distinct)
    whole = _word_hashes(codes, starts, lengths)
    weights = (1.0 + np.log(counts)) * _importance(distinct, lengths)
    hashes, shares = [whole], [weights]
    for size in GRAMS:
        grams, owners = _gram_hashes(codes, size)
        per_word = np.bincount(owners, minlength=len(distinct)).astype(np.float64)
        hashes.append(grams)
        shares.append(GRAM_SHARE * weights[owners] / np.sqrt(per_word[owners]))
    return _mixed(np.concatenate(hashes)), np.concatenate(shares)


def _laid_out(words: Iterable[str]) -> tuple[Hashes, NDArray[np.int64], NDArray[np.int64]]:
    """The words with one space around each as code points, where each begins, and how long it is."""
    lengths = np.array([len(word) for word in words], dtype=np.int64)
    text = f" {' '.join(words)} "
    codes = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    starts = 1 + np.concatenate([[0], np.cumsum(lengths + 1)[:-1]])
    return codes, starts, lengths


def _word_hashes(codes: Hashes, starts: NDArray[np.int64], lengths: NDArray[np.int64]) -> Hashes:
    places = np.arange(len(codes)) - np.repeat(np.append(0, starts), np.append(1, lengths + 1))
    with np.errstate(over="ignore"):
        weighed = codes * POWERS[np.clip(places, 0, MAX_WORD_CHARS)]
        # A space after each word is part of the sum, so that no word hashes like an n-gram.
        return np.add.reduceat(weighed, starts)


def _gram_hashes(codes: Hashes, size: int) -> tuple[Hashes, NDArray[np.int64]]:
    """N-grams within words, their ends marked by the space; and the number of the word that each is of."""
    windows = np.lib.stride_tricks.sliding_window_view(codes, size) if len(codes) >= size else codes[:0, np.newaxis]
    spaces = codes == 32
    inner = np.zeros(len(windows), dtype=bool)
    for offset in range(1, size - 1):
        inner |= spaces[offset : offset + len(windows)]
    numbers = np.cumsum(spaces)[1 : 1 + len(windows)] - 1
    kept = ~inner
    with np.errstate(over="ignore"):
        hashes = (windows[kept] * POWERS[:size]).sum(axis=1, dtype=np.uint64) + np.uint64(size)
    return hashes, numbers[kept]


def _importance(words: Iterable[str], lengths: NDArray[np.int64]) -> Weights:
    stops = stop_words()
    is_stop = np.array([word in stops for word in words])
    weights = np.where(lengths <= 2, SHORT_WEIGHT, 1.0)
    pairs = np.array([bool(UNSPACED.match(word)) for word in words])
    return np.where(is_stop, STOP_WEIGHT, np.where(pairs, 1.0, weights))


def _mixed(hashes: Hashes) -> Hashes:
    """SplitMix64's finaliser: neighbouring sums land far apart."""
    with np.errstate(over="ignore"):
        hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return hashes ^ (hashes >> np.uint64(31))


@cache
def stop_words() -> frozenset[str]:
    """The commonest words of the languages that we have lists for, without case and accents."""
    lines = (Path(__file__).parent / "stop_words.txt").read_text(encoding="utf-8").splitlines()
    return frozenset(
        word for line in lines if line and not line.startswith("#") for word in words_of(line.partition(":")[2])
    )
