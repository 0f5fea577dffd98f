"""Tool calls as Hermes and Qwen models write them, `<tool_call>{…}</tool_call>`, found while the text still streams."""

import json
from uuid import uuid4

from gpu_miner.protocol import JsonObject, as_text

OPEN = "<tool_call>"
CLOSE = "</tool_call>"
# A call that never closes is text after all; holding it back for ever would look like a hung answer.
MAX_CALL_CHARS = 64 * 1024


class ToolCallParser:
    """Takes text as it comes; gives back the text to show and the calls, each once its closing mark is there."""

    def __init__(self, opening: str = "") -> None:
        self.calls: list[JsonObject] = []
        self._held = opening

    def feed(self, text: str) -> tuple[str, list[JsonObject]]:
        """What may be shown now, and the calls that were completed."""
        self._held += text
        shown, found = [], []
        while True:
            before, mark, rest = self._held.partition(OPEN)
            shown.append(self._release(before, is_whole=bool(mark)))
            if not mark:
                break
            body, closed, after = rest.partition(CLOSE)
            if not closed and len(body) < MAX_CALL_CHARS:
                self._held = OPEN + rest
                break
            self._held = after
            call = self._call(body) if closed else None
            if call is None:
                shown.append(OPEN + body + closed)
            else:
                found.append(call)
        return self._visible("".join(shown)), found

    def close(self) -> str:
        """The text that was still held back at the end: a call that did not close is shown as it stands."""
        held, self._held = self._held, ""
        return self._visible(held)

    def _release(self, text: str, *, is_whole: bool) -> str:
        """All of the text, less an end that may be the beginning of the opening mark."""
        kept = 0 if is_whole else _overlap(text, OPEN)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _visible(self, text: str) -> str:
        """The line breaks that models write around their calls are no part of the answer."""
        return "" if self.calls and not text.strip() else text

    def _call(self, body: str) -> JsonObject | None:
        try:
            raw = json.loads(body)
        except (ValueError, RecursionError):
            return None
        if not isinstance(raw, dict) or not as_text(raw.get("name")):
            return None
        arguments = raw.get("arguments", raw.get("parameters", {}))
        words = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        call: JsonObject = {
            "index": len(self.calls),
            "id": f"call_{uuid4().hex[:24]}",
            "type": "function",
            "function": {"name": as_text(raw["name"]), "arguments": words},
        }
        self.calls.append({name: value for name, value in call.items() if name != "index"})
        return call


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of the text begin the mark."""
    return next((size for size in range(min(len(mark) - 1, len(text)), 0, -1) if text.endswith(mark[:size])), 0)
