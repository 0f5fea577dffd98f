"""How the next token is chosen: a job's OpenAI parameters, checked, over the defaults of the model."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from gpu_miner.engines.base import EngineJob
from gpu_miner.errors import EngineError
from gpu_miner.protocol import JsonObject, as_object, as_text

MAX_STOPS = 16
MAX_STOP_CHARS = 200
MAX_SEED = 2**63 - 1


@dataclass(frozen=True)
class Sampling:
    """Every value in its range; 0 or 1, as usual, where a thing is off."""

    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    # None: free text; an empty schema: any JSON object.
    schema: JsonObject | None = None

    @property
    def is_greedy(self) -> bool:
        return self.temperature == 0 or self.top_p == 0 or self.top_k == 1


def sampling_of(job: EngineJob, defaults: Mapping[str, object], max_output: int) -> Sampling:
    """The job's sampling; raises EngineError `bad_request` for a value that makes no sense."""
    params = _Params(job.params, defaults)
    stop = job.stop
    if len(stop) > MAX_STOPS or any(len(text) > MAX_STOP_CHARS for text in stop):
        raise _bad_request(f"stop: at most {MAX_STOPS} strings of {MAX_STOP_CHARS} characters")
    return Sampling(
        max_tokens=min(job.max_tokens, max_output),
        temperature=params.number("temperature", 1.0, 0.0, 5.0),
        top_p=params.number("top_p", 1.0, 0.0, 1.0),
        top_k=int(params.number("top_k", 0, 0, 1_000_000)),
        min_p=params.number("min_p", 0.0, 0.0, 1.0),
        repetition_penalty=params.number("repetition_penalty", 1.0, 0.1, 10.0),
        frequency_penalty=params.number("frequency_penalty", 0.0, -2.0, 2.0),
        presence_penalty=params.number("presence_penalty", 0.0, -2.0, 2.0),
        seed=params.seed(),
        stop=stop,
        schema=_schema(job.params.get("response_format")),
    )


class _Params:
    """Reads numbers from a job's parameters, else from the model's defaults."""

    def __init__(self, given: Mapping[str, object], defaults: Mapping[str, object]) -> None:
        self._given = given
        self._defaults = defaults

    def number(self, name: str, otherwise: float, low: float, high: float) -> float:
        raw = self._given.get(name)
        if raw is None:
            return _within(self._defaults.get(name), low, high, otherwise)
        value = _within(raw, low, high, math.nan)
        if math.isnan(value):
            raise _bad_request(f"{name} must be a number from {low:g} to {high:g}")
        return value

    def seed(self) -> int | None:
        raw = self._given.get("seed")
        if raw is None:
            return None
        if isinstance(raw, bool) or not isinstance(raw, int) or abs(raw) > MAX_SEED:
            raise _bad_request("seed must be a whole number")
        return raw


def _within(raw: object, low: float, high: float, otherwise: float) -> float:
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not low <= raw <= high:
        return otherwise
    return float(raw)


def _schema(raw: object) -> JsonObject | None:
    wanted = as_object(raw)
    kind = as_text(wanted.get("type"))
    if kind in ("", "text"):
        return None
    if kind == "json_object":
        return {}
    if kind == "json_schema":
        schema = as_object(wanted.get("json_schema")).get("schema")
        if isinstance(schema, dict):
            return schema
        raise _bad_request("response_format: json_schema has no schema")
    raise _bad_request("response_format: type must be text, json_object or json_schema")


def _bad_request(words: str) -> EngineError:
    return EngineError("bad_request", words, retryable=False)
