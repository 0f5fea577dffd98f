"""Personal data out of words, and back into them: one map per conversation, in both directions the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mia.lib.personal_data import PLACEHOLDER, Found, Kind, find, find_texts, lookalikes

MOST_OF_A_KIND: Final = 9999
LONGEST_VALUE: Final = 400


@dataclass
class Mask:
    """What each placeholder stands for. Masking adds to it; `added` are those that are not stored yet.

    A value is kept as it was written, so that what comes back is the same to the letter.
    """

    values: dict[str, str] = field(default_factory=dict)
    names: Sequence[str] = ()
    region: str = ""
    added: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._index()

    def start_from(self, values: Mapping[str, str]) -> None:
        """Forgets what was added, and goes on from what is stored."""
        self.values, self.added = dict(values), {}
        self._index()

    def _index(self) -> None:
        self._placeholders = {value: placeholder for placeholder, value in self.values.items()}
        self._last = dict.fromkeys(Kind, 0)
        for placeholder in self.values:
            kind, _, number = placeholder.strip("<>").partition("_")
            self._last[Kind(kind)] = max(self._last[Kind(kind)], int(number))

    def hide(self, text: str) -> str:
        """The text without anybody's data: for what visitors wrote and what was said about them."""
        return self._replace(text, find(text, region=self.region, names=[*self.names, *self._hidden_names()]))

    def hide_known(self, text: str) -> str:
        """The text without what is hidden already: a business's own address in its facts is no secret of a visitor."""
        known = [value for placeholder, value in self.values.items() if not placeholder.startswith("<TEXT_")]
        # What is there already was put there by us, in what came with the question.
        found = [piece for piece in lookalikes(text) if text[piece.start : piece.end].upper() not in self.values]
        for piece in find_texts(text, [*self.names, *known], Kind.NAME):
            if all(piece.end <= other.start or piece.start >= other.end for other in found):
                found.append(piece)
        return self._replace(text, sorted(found, key=lambda piece: piece.start))

    def hide_in_calls(self, calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Tool calls with their arguments hidden; they stay JSON."""
        return [_with_arguments(call, lambda text: in_json(text, self.hide)) for call in calls]

    def _hidden_names(self) -> list[str]:
        return [value for placeholder, value in self.values.items() if placeholder.startswith("<NAME_")]

    def _replace(self, text: str, found: Sequence[Found]) -> str:
        parts, end = [], 0
        for piece in found:
            parts += [text[end : piece.start], self._placeholder(text[piece.start : piece.end], piece.kind)]
            end = piece.end
        return "".join([*parts, text[end:]])

    def _placeholder(self, value: str, kind: Kind) -> str:
        known = self._placeholders.get(value)
        if known is not None:
            return known
        if self._last[kind] >= MOST_OF_A_KIND or len(value) > LONGEST_VALUE:
            return f"<{kind}>"
        self._last[kind] += 1
        placeholder = f"<{kind}_{self._last[kind]}>"
        self.values[placeholder] = self.added[placeholder] = value
        self._placeholders[value] = placeholder
        return placeholder


def restore(text: str, values: Mapping[str, str]) -> str:
    """The text as its reader may see it; a placeholder that stands for nothing stays."""
    if not values or "<" not in text:
        return text
    return PLACEHOLDER.sub(lambda match: values.get(match.group().upper(), match.group()), text)


def restore_calls(calls: Sequence[Mapping[str, Any]], values: Mapping[str, str]) -> list[dict[str, Any]]:
    """Tool calls with the real arguments."""
    return [_with_arguments(call, lambda text: in_json(text, lambda part: restore(part, values))) for call in calls]


def in_json(text: str, change: Callable[[str], str]) -> str:
    """JSON with every string in it changed; a text that is no JSON is changed as a whole. Untouched stays as it was."""
    try:
        parsed = json.loads(text)
    except ValueError:
        return change(text)
    changed = _changed(parsed, change)
    return text if changed == parsed else json.dumps(changed, ensure_ascii=False)


def _changed(value: Any, change: Callable[[str], str]) -> Any:
    match value:
        case str():
            return change(value)
        case list():
            return [_changed(item, change) for item in value]
        case dict():
            return {change(key): _changed(item, change) for key, item in value.items()}
    return value


def _with_arguments(call: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    function = call.get("function")
    if not isinstance(function, dict) or not isinstance(function.get("arguments"), str):
        return dict(call)
    return {**call, "function": {**function, "arguments": change(function["arguments"])}}
