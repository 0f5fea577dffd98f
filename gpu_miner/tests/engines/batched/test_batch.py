"""Jobs inside the engine process: pacing, admission, news."""

from dataclasses import dataclass, field

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.batch import Batch, News
from gpu_miner.engines.batched.generator import Loaded, Prompt, Request, Written
from gpu_miner.errors import EngineError


@dataclass
class FakeGenerator:
    """Writes what it is told to; a prompt has as many tokens as the question has letters."""

    loaded: Loaded = field(default_factory=lambda: Loaded("m", "fake", "", 4096, 1024, ()))
    started: list[Request] = field(default_factory=list)
    cancelled: list[str] = field(default_factory=list)
    coming: list[Written] = field(default_factory=list)
    refusal: EngineError | None = None

    def prompt(self, job: EngineJob) -> Prompt:
        if job.question == "odd":
            raise RuntimeError("a template that fails")
        return Prompt([1] * len(job.question))

    def start(self, request: Request) -> None:
        if self.refusal:
            raise self.refusal
        self.started.append(request)

    def cancel(self, key: str) -> None:
        self.cancelled.append(key)

    def step(self) -> list[Written]:
        coming, self.coming = self.coming, []
        return coming

    def close(self) -> None:
        pass


def job(question: str = "hello", max_tokens: int = 100, **changes: object) -> EngineJob:
    message = {"role": "user", "content": question}
    return EngineJob("j", (message,), params={"max_tokens": max_tokens}, **changes)  # type: ignore[arg-type]


@pytest.fixture
def generator() -> FakeGenerator:
    return FakeGenerator()


@pytest.fixture
def batch(generator: FakeGenerator) -> Batch:
    return Batch(generator, max_output=1024, defaults={})


def run(batch: Batch, generator: FakeGenerator, *coming: Written) -> News:
    generator.coming = list(coming)
    return batch.step()


def test_no_more_than_two_prompts_begin_in_one_step(batch: Batch, generator: FakeGenerator) -> None:
    for key in "abc":
        batch.add(key, job())
    batch.step()
    assert [request.key for request in generator.started] == ["a", "b"]
    batch.step()
    assert [request.key for request in generator.started] == ["a", "b", "c"]


def test_a_job_waits_until_the_cache_has_its_pages(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job(max_tokens=700))
    batch.add("b", job(max_tokens=300))
    batch.step()
    assert [request.key for request in generator.started] == ["a"]
    run(batch, generator, Written("a", "x", 1, "stop"))
    batch.step()
    assert [request.key for request in generator.started] == ["a", "b"]


def test_a_job_larger_than_the_cache_or_the_model_is_sent_on(batch: Batch) -> None:
    batch.add("a", job(max_tokens=1000, question="x" * 100))
    batch.add("b", job(question="x" * 5000))
    errors = batch.step().errors
    assert [(key, code, retryable) for key, code, _, retryable in errors] == [
        ("a", "context_too_long", True),
        ("b", "context_too_long", True),
    ]
    assert batch.is_idle


def test_one_bad_job_spares_the_others(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job("odd"))
    batch.add("b", job())
    news = batch.step()
    assert [error[:2] for error in news.errors] == [("a", "engine_error")]
    assert [request.key for request in generator.started] == ["b"]


def test_what_the_runtime_refuses_is_said_of_that_job(batch: Batch, generator: FakeGenerator) -> None:
    generator.refusal = EngineError("unsupported", "no seeds here", retryable=True)
    batch.add("a", job())
    assert batch.step().errors == [("a", "unsupported", "no seeds here", True)]


def test_the_end_tells_reason_and_usage(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job("hello"))
    batch.step()
    news = run(batch, generator, Written("a", "Hi", 2), Written("a", " there", 1, "length", cached_tokens=4))
    assert news.step == [("a", "Hi", 2), ("a", " there", 1)]
    assert news.ends == [("a", "length", 5, 3, 4, [])]


def test_a_tool_call_ends_the_answer_as_one(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job(tools=({"type": "function", "function": {"name": "f"}},)))
    batch.step()
    news = run(batch, generator, Written("a", '<tool_call>{"name": "f", "arguments": {}}</tool_call>', 9, "stop"))
    assert news.tools[0][1][0]["function"]["name"] == "f"
    assert news.ends[0][1] == "tool_calls"
    assert news.step == [("a", "", 9)]


def test_a_cancelled_job_brings_no_more_news(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job())
    batch.add("b", job())
    batch.step()
    batch.add("c", job())
    batch.cancel("a")
    batch.cancel("c")
    assert generator.cancelled == ["a"]
    assert not run(batch, generator, Written("a", "late", 1))
    batch.cancel("b")
    assert batch.is_idle


def test_a_failed_job_ends_and_the_batch_goes_on(batch: Batch, generator: FakeGenerator) -> None:
    batch.add("a", job())
    batch.step()
    assert run(batch, generator, Written("a", error="a bad page")).errors == [("a", "engine_error", "a bad page", True)]
    assert batch.is_idle
