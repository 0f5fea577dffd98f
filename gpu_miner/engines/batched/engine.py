"""The engine port over an engine process: feeds it jobs, spreads what it writes, restarts it when it fails."""

import logging
from dataclasses import dataclass, field, replace
from itertools import count
from threading import Condition, Event, Thread
from time import monotonic
from typing import Any

from gpu_miner.engines.base import Cancelled, Delta, EngineJob, Finish, Stream, Usage, text_of
from gpu_miner.engines.batched.child import Child, engine_command
from gpu_miner.engines.batched.generator import PAGE_TOKENS, GeneratorOptions
from gpu_miner.engines.batched.wire import WireBroken
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.protocol import JsonObject, ModelCard, as_int, as_list, as_object, as_text

logger = logging.getLogger(__name__)

# What a job is taken to need before its tokens are counted; too low only makes it wait inside the engine.
CHARS_PER_TOKEN = 3
ORDINARY_JOB_TOKENS = 2_048
LOADS_UNTIL_HOPELESS = 3
SMALLEST_CACHE_SHARE = 1 / 8


@dataclass(frozen=True)
class EnginePatience:
    """How long the miner waits for its engine process; tests wait less."""

    hung_after_s: float = 30.0
    load_s: float = 1_800.0
    restart_first_s: float = 5.0
    restart_cap_s: float = 60.0
    # A process that lived this long had no lasting fault: the next one starts at once.
    sound_after_s: float = 60.0
    watch_tick_s: float = 0.5
    close_s: float = 5.0


@dataclass
class _Work:
    job: EngineJob
    stream: Stream
    reserved_tokens: int
    outcome: Finish | Exception | None = None
    done: Event = field(default_factory=Event)

    def end(self, outcome: Finish | Exception) -> None:
        self.outcome = self.outcome or outcome
        self.done.set()


class BatchedEngine:
    """Every job waits in its own thread; one thread hears the engine process and pushes to all streams."""

    def __init__(
        self,
        options: GeneratorOptions,
        *,
        digest: str = "",
        patience: EnginePatience | None = None,
        command: list[str] | None = None,
    ) -> None:
        self.slots = options.slots
        self.restarts = 0
        self._options = options
        self._digest = digest
        self._patience = patience or EnginePatience()
        self._command = command or engine_command()
        self._changed = Condition()
        self._keys = count(1)
        self._works: dict[str, _Work] = {}
        self._child: Child | None = None
        self._loaded: JsonObject = {}
        self._is_ready = False
        self._refusal: EngineUnavailable | None = None
        self._failures = 0
        self._heard_at = self._ready_at = 0.0
        self._keeper: Thread | None = None
        self._closed = Event()

    @property
    def pid(self) -> int | None:
        """The engine process that runs now."""
        child = self._child
        return child.pid if child is not None else None

    def models(self) -> list[ModelCard]:
        self._open()
        with self._changed:
            self._changed.wait_for(lambda: self._loaded or self._refusal or self._closed.is_set())
            if self._refusal is not None:
                raise self._refusal
            if not self._loaded:
                raise EngineUnavailable("the engine was closed while it loaded")
            return [self._card(self._loaded)]

    def admits(self, job: EngineJob) -> bool:
        with self._changed:
            return self._is_ready and (not self._works or _estimate(job) <= self._free_tokens)

    def room(self) -> int:
        with self._changed:
            if not self._is_ready:
                return 0
            by_cache = self._free_tokens // ORDINARY_JOB_TOKENS if self._works else self.slots
            return max(0, min(self.slots - len(self._works), by_cache))

    def run(self, job: EngineJob, stream: Stream) -> Finish:
        if stream.cancelled:
            raise Cancelled
        stream.begin(continues=bool(job.resume_text))
        work = _Work(job, stream, _estimate(job))
        key = self._enlist(work)
        stream.on_cancel(lambda: self._cancel(key))
        work.done.wait()
        if isinstance(work.outcome, Finish):
            return work.outcome
        raise work.outcome or Cancelled

    def close(self) -> None:
        self._closed.set()
        with self._changed:
            child = self._child
            self._changed.notify_all()
        if child is not None:
            child.kill()
        if self._keeper is not None:
            self._keeper.join(self._patience.close_s)

    # --- jobs

    @property
    def _free_tokens(self) -> int:
        held = sum(work.reserved_tokens for work in self._works.values())
        return max(0, as_int(self._loaded.get("cache_tokens"), 0) - held)

    def _enlist(self, work: _Work) -> str:
        with self._changed:
            if not self._is_ready or self._child is None:
                raise _restarting("the engine is restarting")
            if not self._works:
                self._heard_at = monotonic()
            key = str(next(self._keys))
            try:
                self._child.send({"do": "start", "key": key, "job": _as_json(work.job)})
            except WireBroken as error:
                raise EngineError(
                    "context_too_long", "the job is larger than any model reads", retryable=False
                ) from error
            self._works[key] = work
        return key

    def _cancel(self, key: str) -> None:
        with self._changed:
            work = self._works.pop(key, None)
            if work is not None and self._child is not None:
                self._child.send({"do": "cancel", "key": key})
        if work is not None:
            work.end(Cancelled())

    def _end(self, key: str, outcome: Finish | Exception) -> None:
        with self._changed:
            work = self._works.pop(key, None)
        if work is not None:
            work.end(outcome)

    def _hand_back_all(self, reason: str) -> None:
        with self._changed:
            works, self._works = list(self._works.values()), {}
        if works:
            logger.warning("%s jobs go back to the platform", len(works))
        for work in works:
            work.end(_restarting(reason))

    # --- the engine process

    def _open(self) -> None:
        with self._changed:
            if self._keeper is not None:
                return
            self._keeper = Thread(target=self._keep, name="engine-keeper", daemon=True)
        Thread(target=self._watch, name="engine-watch", daemon=True).start()
        self._keeper.start()

    def _keep(self) -> None:
        """One engine process after the other, all from this one thread."""
        while not self._closed.is_set() and self._refusal is None:
            reason = self._live_once()
            if self._closed.is_set() or self._refusal is not None:
                break
            self._give_up_or_wait(reason)
        self._hand_back_all("the engine was closed")
        with self._changed:
            self._changed.notify_all()

    def _live_once(self) -> str:
        """Why the engine process ended."""
        child = Child(self._command)
        with self._changed:
            self._child, self._heard_at = child, monotonic()
        if self._closed.is_set():
            child.kill()
        child.send({"load": self._options.as_json()})
        reason = ""
        try:
            for message in child.messages():
                reason = self._hear(message) or reason
        except (WireBroken, TypeError, ValueError) as error:
            reason = f"the engine process talks nonsense: {error}"
        with self._changed:
            self._is_ready, self._child = False, None
        status = child.close()
        reason = reason or f"the engine process ended with status {status}"
        self._hand_back_all(reason)
        return reason

    def _give_up_or_wait(self, reason: str) -> None:
        patience = self._patience
        if self._ready_at and monotonic() - self._ready_at > patience.sound_after_s:
            self._failures = 0
        self._failures += 1
        if not self._loaded and self._failures >= LOADS_UNTIL_HOPELESS:
            self._refuse(f"the engine could not be loaded: {reason}")
            return
        self.restarts += 1
        wait_s = min(patience.restart_cap_s, patience.restart_first_s * (self._failures - 1))
        logger.error("%s; starting another in %.0f s", reason, wait_s)
        self._closed.wait(wait_s)

    def _watch(self) -> None:
        """Kill an engine process that no longer steps; its pipe then ends, and the keeper goes on from there."""
        while not self._closed.wait(self._patience.watch_tick_s):
            with self._changed:
                silent_s = monotonic() - self._heard_at
                limit_s = self._patience.hung_after_s if self._is_ready else self._patience.load_s
                is_hung = silent_s > limit_s and (bool(self._works) or not self._is_ready)
                child = self._child
            if is_hung and child is not None:
                logger.error("the engine process has been silent for %.0f s and is killed", silent_s)
                child.kill()

    def _hear(self, message: JsonObject) -> str:
        """Act on one message; a reason when it is the last."""
        self._heard_at = monotonic()
        if "step" in message:
            self._spread(message)
        elif "loading" in message:
            news = as_object(message["loading"])
            share = news.get("share")
            done = share if isinstance(share, int | float) else 0
            logger.info("loading %s: %.0f %%", as_text(news.get("what")), 100 * done)
        elif "ready" in message:
            self._become_ready(as_object(message["ready"]))
        elif "failed" in message:
            self._refuse(as_text(message["failed"]))
        elif "broken" in message:
            return self._broke(as_object(message["broken"]))
        return ""

    def _become_ready(self, loaded: JsonObject) -> None:
        with self._changed:
            self._loaded, self._is_ready, self._ready_at = loaded, True, monotonic()
            self._changed.notify_all()

    def _refuse(self, words: str) -> None:
        with self._changed:
            self._refusal = EngineUnavailable(words)
            self._changed.notify_all()

    def _broke(self, news: JsonObject) -> str:
        words = as_text(news.get("message"))
        if news.get("out_of_memory") is not True:
            return f"the engine broke: {words}"
        share = max(SMALLEST_CACHE_SHARE, self._options.cache_share / 2)
        self._options = replace(self._options, cache_share=share)
        return f"the engine ran out of memory and gets {share:.3g} of its cache: {words}"

    def _spread(self, message: dict[str, Any]) -> None:
        """The hot path: once for each step, a few microseconds for each token."""
        works = self._works
        for key, text, tokens in message["step"]:
            work = works.get(key)
            if work is not None:
                work.stream.push(Delta(text, tokens))
        for key, calls in message.get("tools", ()):
            if (work := works.get(key)) is not None:
                work.stream.push(Delta("", 0, tuple(calls)))
        for key, reason, prompt, completion, cached, calls in message.get("ends", ()):
            self._end(key, Finish(reason, Usage(prompt, completion, cached), tuple(calls)))
        for key, code, words, retryable in message.get("errors", ()):
            self._end(key, EngineError(code, words, retryable=bool(retryable)))

    def _card(self, loaded: JsonObject) -> ModelCard:
        context = as_int(loaded.get("max_context"), self._options.max_context)
        card: ModelCard = {
            "id": as_text(loaded.get("name")),
            "backend": as_text(loaded.get("backend")),
            "quant": as_text(loaded.get("quant")),
            "max_context": context,
            "max_output": min(self._options.max_output, context),
            "features": [as_text(feature) for feature in as_list(loaded.get("features"))],
        }
        if self._digest:
            card["digest"] = self._digest
        return card


def _restarting(words: str) -> EngineError:
    return EngineError("engine_restarting", words, retryable=True)


def _estimate(job: EngineJob) -> int:
    chars = sum(len(text_of(message)) for message in job.messages) + len(job.resume_text)
    return -(-(chars // CHARS_PER_TOKEN + job.max_tokens) // PAGE_TOKENS) * PAGE_TOKENS


def _as_json(job: EngineJob) -> JsonObject:
    return {**vars(job), "params": dict(job.params)}
