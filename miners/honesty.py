"""Whether what a miner says of its own work can be true: tokens against the text and the clock, the model's digest."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from miners.tokens import estimate_tokens

# No engine writes one answer faster than this; the start is for tokens that came before the clock was looked at.
MOST_TOKENS_PER_S: Final = 2_000
TOKENS_AT_ONCE: Final = 200
# Ends of turns and the frame of a tool call are tokens that leave no text behind.
TOKENS_WITHOUT_TEXT: Final = 4
# A byte-pair vocabulary spells letters in pairs at worst; digits and signs may each be a token of their own.
LETTERS: Final = re.compile(r"[A-Za-z]+")
SPACES: Final = re.compile(r"\s+")


@dataclass(frozen=True)
class Claim:
    """What a miner says of one answer; `taken_s` is how long it had the job, by the platform's own clock."""

    output: str
    tool_calls: Sequence[Any]
    reported: int
    taken_s: float


@dataclass(frozen=True)
class Counted:
    """The tokens that count, and what was not believed, in words for staff."""

    tokens: int
    remark: str = ""


def count(claim: Claim) -> Counted:
    """Never more tokens than the text can hold or the time allows; our own estimate where the miner counted none."""
    if claim.reported <= 0:
        return Counted(estimate_tokens(claim.output))
    in_text = most_tokens(claim.output) + _most_in_calls(claim.tool_calls) + TOKENS_WITHOUT_TEXT
    in_time = TOKENS_AT_ONCE + int(MOST_TOKENS_PER_S * claim.taken_s)
    most = min(in_text, in_time)
    if claim.reported <= most:
        return Counted(claim.reported)
    reason = "text can hold" if in_text <= in_time else "time allows"
    return Counted(most, f"says {claim.reported} tokens, more than the {reason}; {most} count")


def most_tokens(text: str) -> int:
    """More tokens than any honest tokenizer makes of this text."""
    letters = LETTERS.findall(text)
    spaces = SPACES.findall(text)
    rest = len(text.encode()) - sum(map(len, letters)) - sum(len(space.encode()) for space in spaces)
    return rest + len(spaces) + sum((len(run) + 1) // 2 for run in letters)


def remark_on_digest(said: str, served_models: Sequence[Mapping[str, Any]], model: str) -> str:
    """What is odd about the digest an answer came with, beside the one that its miner registered."""
    known = {str(card.get("digest") or "") for card in served_models if not model or card.get("id") == model} - {""}
    if said and known and said not in known:
        return "another model than the one registered"
    return "no digest, though one is registered" if known and not said else ""


def _most_in_calls(tool_calls: Sequence[Any]) -> int:
    return most_tokens(json.dumps(list(tool_calls), ensure_ascii=False)) if tool_calls else 0
