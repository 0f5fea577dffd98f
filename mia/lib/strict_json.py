"""A JSON reader that refuses what would surprise somebody later: PostgreSQL, another parser, or a person.

`json.loads` accepts NaN, infinities, duplicate keys (the last wins), numbers of any size, NUL bytes that PostgreSQL
cannot store, and halves of surrogate pairs that no encoder can write.
"""

import codecs
import json
import math
import re

from mia.lib.errors import InvalidRequest

MAX_DEPTH = 64
MAX_NUMBER_LENGTH = 64
SMALLEST_INT = -(2**63)
LARGEST_INT = 2**63 - 1

# Neither a NUL nor half a surrogate pair can come into valid UTF-8 JSON except by one of these escapes.
_SUSPICIOUS_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def parse_strict_json(body: bytes) -> object:
    """The value in the body, {} for an empty one; raises InvalidRequest, with a reason fit for the caller's eyes."""
    if not body.strip():
        return {}
    if body.startswith(codecs.BOM_UTF8):
        raise InvalidRequest("The body must be UTF-8 without a byte order mark.")
    value = _decode(body)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
        _check_depth(value)
    if _SUSPICIOUS_ESCAPE.search(body):
        _check_strings(value)
    return value


def _decode(body: bytes) -> object:
    try:
        return json.loads(
            body.decode("utf-8"),
            object_pairs_hook=_object_without_duplicates,
            parse_constant=_refuse_constant,
            parse_float=_finite_float,
            parse_int=_int_of_64_bits,
        )
    except UnicodeDecodeError as error:
        raise InvalidRequest("The body is not valid UTF-8.") from error
    except json.JSONDecodeError as error:
        raise InvalidRequest(f"The body is not valid JSON: line {error.lineno}, column {error.colno}.") from error
    except RecursionError as error:
        raise InvalidRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.") from error


def _object_without_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise InvalidRequest("The JSON repeats a key within one object.")
    return result


def _refuse_constant(name: str) -> object:
    raise InvalidRequest(f"{name} is not a JSON number.")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise InvalidRequest("A number is too large.")
    return number


def _int_of_64_bits(text: str) -> int:
    # Python refuses to read more than 4,300 digits, and fewer take quadratic time.
    if len(text) > MAX_NUMBER_LENGTH or not SMALLEST_INT <= (number := int(text)) <= LARGEST_INT:
        raise InvalidRequest("A whole number does not fit into 64 bits.")
    return number


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    if any(isinstance(item, dict | list) for item in level):
        raise InvalidRequest(f"The JSON is nested deeper than {MAX_DEPTH} levels.")


def _check_strings(value: object) -> None:
    level = [value]
    while level:
        for item in level:
            _check_item(item)
        level = [child for parent in level for child in _children(parent)]


def _check_item(item: object) -> None:
    texts = item.keys() if isinstance(item, dict) else [item] if isinstance(item, str) else []
    if any(_UNSTORABLE.search(text) for text in texts):
        raise InvalidRequest("A string holds a NUL character or half of a surrogate pair.")


def _children(value: object) -> list[object]:
    match value:
        case dict():
            return list(value.values())
        case list():
            return value
        case _:
            return []
