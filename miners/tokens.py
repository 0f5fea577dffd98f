"""How many tokens a text is likely to be, for limits and fairness; never for money."""

import re
from typing import Final

# Scripts in which a character is about one token of a multilingual model's vocabulary.
DENSE: Final = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0002fa1f]")
CHARS_PER_TOKEN: Final = 3.6
TOKENS_PER_MESSAGE: Final = 4


def estimate_tokens(text: str) -> int:
    """About the tokens of `text`, a little high: 3.6 characters each, one per ideograph or kana."""
    dense = len(DENSE.findall(text))
    return dense + int((len(text) - dense) / CHARS_PER_TOKEN) + (1 if text else 0)


def estimate_messages(messages: list[dict[str, object]]) -> int:
    """About the tokens of a whole prompt, the chat template's included."""
    return sum(estimate_tokens(str(message.get("content") or "")) + TOKENS_PER_MESSAGE for message in messages)
