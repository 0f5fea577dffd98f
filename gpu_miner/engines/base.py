"""The engine port: what the miner asks of whatever writes the words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event
from time import monotonic
from typing import NamedTuple, Protocol

from gpu_miner.errors import MinerError
from gpu_miner.protocol import JsonObject, ModelCard, as_int, as_list, as_object, as_text

DEFAULT_MAX_TOKENS = 512


class Cancelled(MinerError):
    """Raised by an engine that stopped because the job was cancelled; nothing is reported."""


@dataclass(frozen=True)
class EngineJob:
    """One thing to write, free of everything that concerns the network."""

    job_id: str
    messages: tuple[JsonObject, ...]
    kind: str = "chat"
    model: str = ""
    params: Mapping[str, object] = field(default_factory=dict)
    tools: tuple[JsonObject, ...] = ()
    tool_choice: object = "auto"
    resume_text: str = ""

    @property
    def max_tokens(self) -> int:
        return max(1, as_int(self.params.get("max_tokens"), DEFAULT_MAX_TOKENS))

    @property
    def stop(self) -> tuple[str, ...]:
        raw = self.params.get("stop")
        wanted = [raw] if isinstance(raw, str) else [as_text(item) for item in as_list(raw)]
        return tuple(text for text in wanted if text)

    @property
    def question(self) -> str:
        """The last thing the user said."""
        said = [text_of(message) for message in self.messages if message.get("role") == "user"]
        return said[-1] if said else ""


class Delta(NamedTuple):
    """What one engine step added: text, the tokens it took, and tool calls in OpenAI's streamed shape."""

    text: str = ""
    tokens: int = 1
    tool_delta: tuple[JsonObject, ...] = ()


@dataclass(frozen=True)
class Usage:
    """Tokens read and written, as the engine counted them; `cached_tokens` of those read were known from before."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True)
class Finish:
    """How the writing ended: stop, length, tool_calls or content_filter."""

    finish_reason: str = "stop"
    usage: Usage | None = None
    tool_calls: tuple[JsonObject, ...] = ()


class Stream(Protocol):
    """Where an engine puts its words; `push` may be called from any one thread at a time."""

    def begin(self, *, continues: bool) -> None:
        """Say once, before the first push, whether the text goes on after `resume_text` or starts anew."""

    def push(self, delta: Delta) -> None:
        """Add what one step brought; ignored after a cancellation."""

    @property
    def cancelled(self) -> bool:
        """Whether to stop writing."""

    def on_cancel(self, stop: Callable[[], None]) -> None:
        """Have `stop` called, from another thread, when the job is cancelled; at once when it already is."""

    def pause(self, seconds: float) -> bool:
        """Sleep, but wake at a cancellation; true when cancelled."""


class Collector:
    """A stream that keeps what it is given: for measuring an engine, or trying whether it works."""

    def __init__(self) -> None:
        self.text = ""
        self.tokens = 0
        self.first_at: float | None = None
        self._cancelled = Event()
        self._stops: list[Callable[[], None]] = []

    def begin(self, *, continues: bool) -> None:
        """Nothing to remember."""

    def push(self, delta: Delta) -> None:
        self.first_at = self.first_at or monotonic()
        self.text += delta.text
        self.tokens += delta.tokens

    def cancel(self) -> None:
        self._cancelled.set()
        for stop in self._stops:
            stop()

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def on_cancel(self, stop: Callable[[], None]) -> None:
        self._stops.append(stop)
        if self.cancelled:
            stop()

    def pause(self, seconds: float) -> bool:
        return self._cancelled.wait(seconds)


class Engine(Protocol):
    """Writes answers, for up to `slots` jobs at once, each in a thread of its own."""

    slots: int

    def models(self) -> Sequence[ModelCard]:
        """What can be served now; the first call may load for minutes. Raises EngineUnavailable when nothing can."""

    def admits(self, job: EngineJob) -> bool:
        """Whether the job can start now; if not it is left unacknowledged and goes back at no fault."""

    def room(self) -> int:
        """How many more ordinary jobs could start now: none while the engine restarts, few while its cache is full."""

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        """Write the whole answer before returning.

        Raises EngineError when there is no answer, and Cancelled when it stopped because it was told to.
        """

    def close(self) -> None:
        """Let go of everything; running jobs have ended or been cancelled."""


def text_of(message: Mapping[str, object]) -> str:
    """The words of a chat message, whose content is a string or a list of typed parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = (as_object(part) for part in as_list(content))
    return "\n".join(as_text(part.get("text")) for part in parts if part.get("type") == "text")
