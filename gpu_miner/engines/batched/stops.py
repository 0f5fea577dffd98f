"""Stop strings: the text up to the first of them, held back while its end could still become one."""

from collections.abc import Sequence


class StopStrings:
    """Takes text as it comes and releases what is certainly before any stop string."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stops)
        self._held = ""
        self.met = False

    def feed(self, text: str) -> str:
        """The text that can be shown; nothing more once `met` is true."""
        if not self._stops:
            return text
        self._held += text
        at = min((at for stop in self._stops if (at := self._held.find(stop)) >= 0), default=-1)
        if at >= 0:
            self.met = True
            shown, self._held = self._held[:at], ""
            return shown
        keep = max(_held_back(self._held, stop) for stop in self._stops)
        cut = len(self._held) - keep
        shown, self._held = self._held[:cut], self._held[cut:]
        return shown

    def close(self) -> str:
        """What was held back, when the text ended without becoming a stop string."""
        shown, self._held = self._held, ""
        return shown


def _held_back(text: str, stop: str) -> int:
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
