"""Finds personal data in a text: addresses, cards and accounts whose checksums hold, phone numbers, given names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Final

import phonenumbers
from stdnum import iban, luhn, numdb

EMAIL: Final = re.compile(r"(?<![\w.+-])[\w+-](?:[\w.+'-]{0,62}[\w+-])?@(?:[\w-]{1,63}\.){1,6}[^\W\d_]{2,24}(?!\w)")
CARD: Final = re.compile(r"(?<![\d+])\d(?:[ -]?\d){12,18}(?![ -]?\d)")
IBAN_START: Final = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{2}\d{2}(?=[ -]?[A-Za-z0-9])")
MANY_DIGITS: Final = re.compile(r"(?:\d[^\w\n]{0,3}){7}")
LONG_NUMBER: Final = re.compile(r"\d(?:[ -]?\d){12,}")
NATIONAL_DIGITS: Final = 9
SHORTEST_NAME: Final = 2


class Kind(StrEnum):
    """What a placeholder hides; TEXT is a text that looks like a placeholder itself."""

    EMAIL = "EMAIL"
    PHONE = "PHONE"
    CARD = "CARD"
    IBAN = "IBAN"
    NAME = "NAME"
    TEXT = "TEXT"


PLACEHOLDER: Final = re.compile(rf"<(?:{'|'.join(Kind)})_[1-9]\d{{0,3}}>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """A piece of a text, by its place in it."""

    start: int
    end: int
    kind: Kind


def find(text: str, *, region: str, names: Sequence[str] = ()) -> list[Found]:
    """All of it, in order, none overlapping; `region` is the country of numbers without a +."""
    found: list[Found] = []
    for finder in (lookalikes(text), _emails(text), _ibans(text), _cards(text), _phones(text, region)):
        _add(found, finder)
    _add(found, find_texts(text, names, Kind.NAME))
    return sorted(found, key=lambda piece: piece.start)


def without_data(text: str, *, region: str = "", names: Sequence[str] = ()) -> str:
    """The text with what is personal named by its kind, such as <EMAIL>; it cannot be put back."""
    parts, end = [], 0
    for piece in find(text, region=region, names=names):
        parts += [text[end : piece.start], f"<{piece.kind}>"]
        end = piece.end
    return "".join([*parts, text[end:]])


def lookalikes(text: str) -> Iterator[Found]:
    """What somebody wrote that reads as a placeholder: it must not be taken for one of ours."""
    for match in PLACEHOLDER.finditer(text):
        yield Found(match.start(), match.end(), Kind.TEXT)


def find_texts(text: str, texts: Iterable[str], kind: Kind) -> Iterator[Found]:
    """These very texts as whole words, in any case, the longest first."""
    wanted = sorted({item.strip() for item in texts if len(item.strip()) >= SHORTEST_NAME}, key=len, reverse=True)
    if wanted:
        pattern = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, wanted))})(?!\w)", re.IGNORECASE)
        for match in pattern.finditer(text):
            yield Found(match.start(), match.end(), kind)


def _add(found: list[Found], more: Iterable[Found]) -> None:
    """What was found first stays: later kinds take what is left."""
    for piece in more:
        if all(piece.end <= other.start or piece.start >= other.end for other in found):
            found.append(piece)


def _emails(text: str) -> Iterator[Found]:
    if "@" in text:
        for match in EMAIL.finditer(text):
            yield Found(match.start(), match.end(), Kind.EMAIL)


def _cards(text: str) -> Iterator[Found]:
    for match in CARD.finditer(text):
        if luhn.is_valid(re.sub(r"\D", "", match.group())):
            yield Found(match.start(), match.end(), Kind.CARD)


def _ibans(text: str) -> Iterator[Found]:
    for match in IBAN_START.finditer(text):
        end = _end_of_iban(text, match.start())
        if end:
            yield Found(match.start(), end, Kind.IBAN)


def _end_of_iban(text: str, start: int) -> int:
    """Where the number that begins here ends, which its country decides; 0 where it is none."""
    length = _length_of_iban(text[start : start + 2].upper())
    compact = ""
    for place in range(start, len(text)):
        char = text[place]
        if char.isascii() and char.isalnum():
            compact += char
        elif char not in " -" or not text[place - 1].isalnum():
            return 0
        if len(compact) >= length:
            return place + 1 if length and iban.is_valid(compact) else 0
    return 0


@cache
def _length_of_iban(country: str) -> int:
    """By the registry of all countries that comes with stdnum; 0 for a country without."""
    (_, found), *_rest = numdb.get("iban").info(country)
    parts = re.findall(r"(\d+)!", found.get("bban", ""))
    return len(country) + 2 + sum(map(int, parts)) if parts else 0


def _phones(text: str, region: str) -> Iterator[Found]:
    if not MANY_DIGITS.search(text):
        return
    long_numbers = [match.span() for match in LONG_NUMBER.finditer(text)]
    matcher = phonenumbers.PhoneNumberMatcher(text, region or None, leniency=phonenumbers.Leniency.VALID)
    for match in matcher:
        is_part = any(start < match.end and match.start < end for start, end in long_numbers)
        if _is_dialled(match.raw_string) and (not is_part or match.raw_string.startswith(("+", "00"))):
            yield Found(match.start, match.end, Kind.PHONE)


def _is_dialled(raw: str) -> bool:
    """An order number of seven or eight figures is a valid number somewhere, too."""
    digits = sum(char.isdigit() for char in raw)
    return raw.startswith(("+", "0", "(")) or digits >= NATIONAL_DIGITS
