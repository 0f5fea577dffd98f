"""A generator that writes at a fixed pace without any model; for tests, for load, and to measure the miner alone."""

import json
import os
from dataclasses import dataclass, fields
from time import monotonic, sleep
from typing import Any

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.generator import GeneratorOptions, Loaded, Progress, Prompt, Request, Written
from gpu_miner.protocol import JsonObject

# Faults by the words of the question: the process dies, stops stepping, runs out of memory, or a step fails.
FAULTS = ("die", "hang", "out of memory", "fail")
FOREVER_S = 86_400.0
DIED_LIKE_A_CRASH = 139


@dataclass(frozen=True)
class Pace:
    """How long a step takes, how many tokens an answer has, and how long loading takes."""

    step_ms: float = 8.0
    tokens: int = 16
    load_ms: float = 0.0
    cache_tokens: int = 65_536
    # The reading of a prompt takes this many steps, which bring nothing.
    prefill_steps: int = 0


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@dataclass
class _Answer:
    request: Request
    text: str
    written: int = 0
    waits: int = 0


class ScriptedGenerator:
    """Counts words out, one per job and step, exactly one step apart."""

    def __init__(self, pace: Pace, options: GeneratorOptions) -> None:
        self.loaded = Loaded(
            name=options.name or "scripted",
            backend="scripted",
            quant="",
            max_context=options.max_context,
            cache_tokens=int((options.cache_tokens or pace.cache_tokens) * options.cache_share),
            features=("prefill_continue",),
        )
        self._pace = pace
        self._answers: dict[str, _Answer] = {}
        self._due = 0.0

    def prompt(self, job: EngineJob) -> Prompt:
        return Prompt([ord(char) for char in job.question])

    def start(self, request: Request) -> None:
        question = "".join(map(chr, request.prompt.tokens))
        self._answers[request.key] = _Answer(request, question, waits=self._pace.prefill_steps)

    def cancel(self, key: str) -> None:
        self._answers.pop(key, None)

    def step(self) -> list[Written]:
        self._rest()
        for answer in self._answers.values():
            self._misbehave(answer)
        news = [self._next(key, answer) for key, answer in list(self._answers.items())]
        return [written for written in news if written is not None]

    def close(self) -> None:
        self._answers.clear()

    def _rest(self) -> None:
        """Until the next tick of a clock that goes on while others compute, as a GPU does."""
        step_s, now = self._pace.step_ms / 1000, monotonic()
        self._due = max(self._due + step_s, now) if self._due > now - step_s else now + step_s
        sleep(max(0.0, self._due - now))

    def _next(self, key: str, answer: _Answer) -> Written | None:
        if answer.waits:
            answer.waits -= 1
            return None
        answer.written += 1
        limit = min(self._pace.tokens, answer.request.sampling.max_tokens)
        ended = "" if answer.written < limit else ("stop" if limit == self._pace.tokens else "length")
        if ended:
            del self._answers[key]
        return Written(key, f"word{answer.written} ", 1, ended)

    def _misbehave(self, answer: _Answer) -> None:
        """Once two words are out, so that the fault comes in the middle of an answer."""
        if answer.written < 2:
            return
        fault = next((fault for fault in FAULTS if f"please {fault}" in answer.text), "")
        if fault == "die":
            os._exit(DIED_LIKE_A_CRASH)
        if fault == "hang":
            sleep(FOREVER_S)
        if fault == "out of memory":
            raise OutOfMemoryError("CUDA out of memory, as the script says")
        if fault == "fail":
            raise RuntimeError("CUDA error: an illegal memory access, as the script says")


def load_scripted(options: GeneratorOptions, progress: Progress) -> ScriptedGenerator:
    given: JsonObject = json.loads(options.script) if options.script else {}
    known = {field.name for field in fields(Pace)}
    chosen: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    pace = Pace(**chosen)
    progress("script", 0.5)
    sleep(pace.load_ms / 1000)
    return ScriptedGenerator(pace, options)
