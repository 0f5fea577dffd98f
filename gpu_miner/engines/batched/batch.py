"""The jobs in hand inside the engine process: when each starts, what it has written, how it ends."""

import logging
from collections import deque
from dataclasses import dataclass, field

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.generator import Generator, Request, Written
from gpu_miner.engines.batched.sampling import Sampling, sampling_of
from gpu_miner.engines.batched.tool_calls import ToolCallParser
from gpu_miner.errors import EngineError
from gpu_miner.protocol import JsonObject

logger = logging.getLogger(__name__)

# Reading a prompt stalls every running stream; two at a time keep the stall short.
STARTS_PER_STEP = 2


@dataclass
class News:
    """What one step brought, in the shape that goes over the wire."""

    step: list[object] = field(default_factory=list)
    tools: list[object] = field(default_factory=list)
    ends: list[object] = field(default_factory=list)
    errors: list[object] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.step or self.tools or self.ends or self.errors)

    def as_message(self) -> JsonObject:
        message: JsonObject = {"step": self.step}
        for name, news in (("tools", self.tools), ("ends", self.ends), ("errors", self.errors)):
            if news:
                message[name] = news
        return message


@dataclass
class _Work:
    request: Request
    parser: ToolCallParser | None
    reserved_tokens: int
    written_tokens: int = 0
    cached_tokens: int = 0


class Batch:
    """Feeds a generator with jobs and turns what it writes into news."""

    def __init__(self, generator: Generator, *, max_output: int, defaults: JsonObject) -> None:
        self._generator = generator
        self._max_output = max_output
        self._defaults = defaults
        self._waiting: deque[_Work] = deque()
        self._running: dict[str, _Work] = {}
        self._news = News()

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._waiting and not self._news

    def add(self, key: str, job: EngineJob) -> None:
        """Take a job in; one that cannot be written is in the news of the next step."""
        try:
            self._waiting.append(self._work(key, job))
        except EngineError as error:
            self._fail(key, error)
        except Exception as error:
            # The edge of foreign code: a chat template may fail in any way, and takes only its own job with it.
            logger.exception("job %s could not be prepared", job.job_id)
            self._fail(key, EngineError("engine_error", f"the prompt could not be made: {error}", retryable=True))

    def cancel(self, key: str) -> None:
        if self._running.pop(key, None) is not None:
            self._generator.cancel(key)
        self._waiting = deque(work for work in self._waiting if work.request.key != key)

    def step(self) -> News:
        self._start_some()
        if self._running:
            for written in self._generator.step():
                self._take(written)
        news, self._news = self._news, News()
        return news

    def _work(self, key: str, job: EngineJob) -> _Work:
        loaded = self._generator.loaded
        sampling = sampling_of(job, self._defaults, self._max_output)
        request = Request(key, self._generator.prompt(job), sampling)
        self._check_length(len(request.prompt.tokens), sampling, loaded.max_context)
        if request.reserved_tokens > loaded.cache_tokens:
            raise EngineError("context_too_long", "the job is larger than this miner's whole cache", retryable=True)
        parser = ToolCallParser(request.prompt.opening) if job.tools and job.tool_choice != "none" else None
        return _Work(request, parser, request.reserved_tokens)

    def _check_length(self, prompt_tokens: int, sampling: Sampling, max_context: int) -> None:
        if prompt_tokens + sampling.max_tokens > max_context:
            words = f"{prompt_tokens} tokens to read and {sampling.max_tokens} to write, of {max_context} possible"
            raise EngineError("context_too_long", words, retryable=True)

    def _start_some(self) -> None:
        for _ in range(STARTS_PER_STEP):
            if not self._waiting or not self._fits(self._waiting[0]):
                return
            work = self._waiting.popleft()
            try:
                self._generator.start(work.request)
            except EngineError as error:
                self._fail(work.request.key, error)
            else:
                self._running[work.request.key] = work

    def _fits(self, work: _Work) -> bool:
        held = sum(running.reserved_tokens for running in self._running.values())
        return held + work.reserved_tokens <= self._generator.loaded.cache_tokens

    def _take(self, written: Written) -> None:
        work = self._running.get(written.key)
        if work is None:
            return
        if written.error:
            del self._running[written.key]
            self._fail(written.key, EngineError("engine_error", written.error, retryable=True))
            return
        work.written_tokens += written.tokens
        work.cached_tokens = written.cached_tokens or work.cached_tokens
        if work.parser is None:
            if written.text or written.tokens:
                self._news.step.append((written.key, written.text, written.tokens))
        else:
            self._parse(work, work.parser, written)
        if written.ended:
            del self._running[written.key]
            self._end(work, written)

    def _parse(self, work: _Work, parser: ToolCallParser, written: Written) -> None:
        text, calls = parser.feed(written.text)
        if written.ended:
            text += parser.close()
        if text or written.tokens:
            self._news.step.append((work.request.key, text, written.tokens))
        if calls:
            self._news.tools.append((work.request.key, calls))

    def _end(self, work: _Work, written: Written) -> None:
        calls = work.parser.calls if work.parser is not None else []
        reason = "tool_calls" if calls and written.ended == "stop" else written.ended
        self._news.ends.append(
            (written.key, reason, len(work.request.prompt.tokens), work.written_tokens, work.cached_tokens, calls)
        )

    def _fail(self, key: str, error: EngineError) -> None:
        self._news.errors.append((key, error.code, str(error), error.retryable))
