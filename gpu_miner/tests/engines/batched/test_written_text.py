"""What a real model writes through each runtime that holds one: real tokens of a tiny model made here."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.engines.base import Collector, EngineJob, Finish
from gpu_miner.engines.batched.engine import BatchedEngine
from gpu_miner.errors import EngineError
from gpu_miner.tests.engines.batched.runtimes import needs_cuda, needs_transformers, tiny_options
from gpu_miner.tests.engines.batched.trained_model import ANSWERS

Ask = Callable[..., tuple[Finish, str]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("model")


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("transformers", marks=needs_transformers),
        pytest.param("exllamav2", marks=needs_cuda("exllamav2")),
        pytest.param("exllamav3", marks=needs_cuda("exllamav3")),
    ],
)
def engine(request: pytest.FixtureRequest, folder: Path) -> Iterator[BatchedEngine]:
    engine = BatchedEngine(tiny_options(request.param, folder, max_output=200))
    engine.models()
    yield engine
    engine.close()


@pytest.fixture
def ask(engine: BatchedEngine) -> Ask:
    def run(question: str = "When does the shop open?", **changes: Any) -> tuple[Finish, str]:
        params = {"max_tokens": 24, **changes.pop("params", {})}
        stream = Collector()
        finish = engine.run(EngineJob("j", ({"role": "user", "content": question},), params=params, **changes), stream)
        return finish, stream.text

    return run


def test_an_answer_is_as_long_as_it_may_be(ask: Ask) -> None:
    finish, text = ask(params={"max_tokens": 7})
    assert finish.finish_reason == "length"
    assert finish.usage is not None
    assert finish.usage.completion_tokens == 7
    assert text


def test_the_best_token_is_chosen_at_temperature_nought(ask: Ask) -> None:
    assert ask(params={"temperature": 0})[1] == ask(params={"temperature": 0})[1]


def test_temperature_brings_variety(ask: Ask) -> None:
    answers = {ask(params={"temperature": 1.5})[1] for _ in range(4)}
    assert len(answers) > 1


def test_an_answer_ends_before_its_stop_string(ask: Ask) -> None:
    _, whole = ask()
    stop = whole[len(whole) // 2 : len(whole) // 2 + 3]
    finish, text = ask(params={"stop": [stop]})
    assert text == whole[: whole.index(stop)]
    assert finish.finish_reason == "stop"


def test_an_answer_that_was_begun_elsewhere_goes_on(ask: Ask) -> None:
    finish, text = ask("How are you?", resume_text="I am ")
    plain, _ = ask("How are you?")
    assert finish.usage is not None
    assert plain.usage is not None
    assert finish.usage.prompt_tokens > plain.usage.prompt_tokens
    assert text


def test_a_job_that_is_too_long_is_sent_on_to_a_larger_miner(ask: Ask) -> None:
    with pytest.raises(EngineError) as caught:
        ask("word " * 3000)
    assert (caught.value.code, caught.value.retryable) == ("context_too_long", True)


def test_a_known_beginning_changes_no_word(ask: Ask) -> None:
    """The second time the first pages of the prompt come from the cache."""
    question = "The shop opens at nine in the morning. " * 40
    assert ask(question)[1] == ask(question)[1]


def text_if_kept(ask: Ask, **params: object) -> str | None:
    """The text, or nothing when the runtime said clearly that it cannot do this and another miner may."""
    try:
        return ask(params=params)[1]
    except EngineError as error:
        if (error.code, error.retryable) != ("unsupported", True):
            raise
        return None


@pytest.mark.parametrize("name", ["frequency_penalty", "presence_penalty"])
def test_a_penalty_is_kept_or_refused_but_never_passed_over(ask: Ask, name: str) -> None:
    assert text_if_kept(ask, max_tokens=60, **{name: 2.0}) != ask(params={"max_tokens": 60})[1]


def test_a_seed_is_kept_or_refused_but_never_passed_over(ask: Ask) -> None:
    first = text_if_kept(ask, seed=7, temperature=1.5)
    assert text_if_kept(ask, seed=7, temperature=1.5) == first


def test_a_schema_is_kept_or_refused_but_never_passed_over(ask: Ask) -> None:
    text = text_if_kept(ask, max_tokens=60, response_format={"type": "json_object"})
    assert text is None or text.lstrip().startswith("{")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """In a process of its own, so that torch stays out of this one."""
    folder = tmp_path_factory.mktemp("trained")
    module = "gpu_miner.tests.engines.batched.trained_model"
    subprocess.run([sys.executable, "-m", module, str(folder)], cwd=Path(__file__).parents[4], check=True)
    return folder


def greedy_answers(kind: str, folder: Path, *, device: str) -> dict[str, tuple[str, str]]:
    """Every answer and how it ended, all written side by side."""
    engine = BatchedEngine(tiny_options(kind, folder, max_output=64, cache_mode="FP16", device=device))
    engine.models()
    answers: dict[str, tuple[str, str]] = {}

    def ask(question: str) -> None:
        stream = Collector()
        message = {"role": "user", "content": question}
        finish = engine.run(EngineJob("j", (message,), params={"max_tokens": 64, "temperature": 0}), stream)
        answers[question] = (stream.text, finish.finish_reason)

    threads = [threading.Thread(target=ask, args=(question,)) for question in ANSWERS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    engine.close()
    return answers


@needs_transformers
def test_a_trained_model_gives_its_answers_side_by_side_and_ends_them_itself(trained: Path) -> None:
    answers = greedy_answers("transformers", trained, device="cpu")
    assert answers == {question: (answer, "stop") for question, answer in ANSWERS.items()}


@needs_transformers
@needs_cuda("exllamav2")
def test_exllamav2_writes_what_transformers_writes_token_by_token(trained: Path) -> None:
    """The proof that positions, weights and cache are read rightly: the greedy answers of both are one."""
    by_transformers = greedy_answers("transformers", trained, device="")
    assert greedy_answers("exllamav2", trained, device="") == by_transformers
