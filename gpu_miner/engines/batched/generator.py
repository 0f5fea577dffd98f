"""The generator port: what the engine process asks of a runtime that writes for many jobs, step by step."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.protocol import JsonObject

# The page of the paged caches; a job's reservation is rounded up to whole pages.
PAGE_TOKENS = 256

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class GeneratorOptions:
    """What to load and how much of the machine to use for it."""

    kind: str
    model: str = ""
    name: str = ""
    slots: int = 4
    max_context: int = 8192
    max_output: int = 1024
    cache_mode: str = "Q8"
    cache_tokens: int = 0
    cache_share: float = 1.0
    chunk_size: int = 512
    device: str = ""
    script: str = ""

    def as_json(self) -> JsonObject:
        return asdict(self)


@dataclass(frozen=True)
class Loaded:
    """What came out of loading: the model as the platform is told, and what its cache holds."""

    name: str
    backend: str
    quant: str
    max_context: int
    cache_tokens: int
    features: tuple[str, ...]


@dataclass(frozen=True)
class Prompt:
    """One job as token ids, with the text that the model is made to begin its answer with."""

    tokens: Sequence[int]
    opening: str = ""


@dataclass(frozen=True)
class Request:
    """One job for the generator; `key` names it from now on."""

    key: str
    prompt: Prompt
    sampling: Sampling

    @property
    def reserved_tokens(self) -> int:
        """Cache the job may come to need, in whole pages."""
        return -(-(len(self.prompt.tokens) + self.sampling.max_tokens) // PAGE_TOKENS) * PAGE_TOKENS


@dataclass(frozen=True)
class Written:
    """What one step brought for one job; `ended` says why it was the last: stop or length, else nothing."""

    key: str
    text: str = ""
    tokens: int = 0
    ended: str = ""
    cached_tokens: int = 0
    error: str = ""


class Generator(Protocol):
    """A loaded model that writes; only ever used from one thread."""

    loaded: Loaded

    def prompt(self, job: EngineJob) -> Prompt:
        """The job in the model's own chat format; raises EngineError for one that the model cannot be asked."""

    def start(self, request: Request) -> None:
        """Begin at the next step. Raises EngineError for what this runtime cannot do."""

    def cancel(self, key: str) -> None:
        """Forget the job and free its cache; nothing more comes for it."""

    def step(self) -> list[Written]:
        """Go one step forward with every started job; may come back empty while prompts are read."""

    def close(self) -> None:
        """Let go of everything."""
