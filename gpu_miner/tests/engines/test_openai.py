"""The openai engine against a server with the habits of real ones."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from gpu_miner.engines.base import Cancelled, Delta
from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions
from gpu_miner.errors import EngineError, EngineUnavailable
from gpu_miner.tests.engines.fake_openai import CALL, CALL_REST, FakeOpenAI
from gpu_miner.tests.engines.recorder import Recorder, asking


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    yield server
    server.close()


def engine(server: FakeOpenAI, **changes: object) -> OpenAIEngine:
    options = replace(OpenAIOptions(server.url, timeout_s=3), **changes)  # type: ignore[arg-type]
    engine = OpenAIEngine(options, slots=2)
    engine.models()
    return engine


def error_of(server: FakeOpenAI, mode: str) -> EngineError:
    ready = engine(server)
    server.mode = mode
    with pytest.raises(EngineError) as caught:
        ready.run(asking("hello"), Recorder())
    return caught.value


@pytest.mark.parametrize("mode", ["stream", "close", "split", "whole"])
def test_the_text_is_whole_however_it_is_framed(server: FakeOpenAI, mode: str) -> None:
    server.mode = mode
    stream = Recorder()
    finish = engine(server).run(asking("hello"), stream)
    assert stream.text == server.text
    assert finish.usage is not None
    assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (21, 8)


@pytest.mark.parametrize("mode", ["stream", "close"])
def test_words_arrive_as_they_are_written(server: FakeOpenAI, mode: str) -> None:
    server.mode, server.delay_s = mode, 0.05
    stream = Recorder(cancel_after=2)
    with pytest.raises(Cancelled):
        engine(server).run(asking("hello"), stream)
    assert len(stream.deltas) == 2


def test_a_cancellation_closes_the_connection(server: FakeOpenAI) -> None:
    server.mode, server.delay_s = "endless", 0.01
    with pytest.raises(Cancelled):
        engine(server).run(asking("hello"), Recorder(cancel_after=3))
    assert server.cut.wait(5)


def test_the_first_model_is_taken_and_its_length_believed(server: FakeOpenAI) -> None:
    (model,) = engine(server).models()
    assert (model["id"], model["max_context"], model["max_output"]) == ("qwen", 4096, 1024)


def test_a_chosen_model_is_used(server: FakeOpenAI) -> None:
    ready = engine(server, model="other")
    assert ready.models()[0]["id"] == "other"
    ready.run(asking("hello"), Recorder())
    assert server.bodies[-1]["model"] == "other"


def test_a_model_the_server_lacks_is_named(server: FakeOpenAI) -> None:
    with pytest.raises(EngineUnavailable, match="it has qwen, other"):
        engine(server, model="gpt")


def test_a_server_without_models_is_unavailable(server: FakeOpenAI) -> None:
    server.models = []
    with pytest.raises(EngineUnavailable, match="serves no model"):
        engine(server)


@pytest.mark.parametrize("status", [404, 500])
def test_a_named_model_of_a_server_that_cannot_list_is_taken_at_its_word(server: FakeOpenAI, status: int) -> None:
    server.list_status = status
    ready = engine(server, model="/models/mine")
    assert ready.models()[0]["id"] == "/models/mine"
    ready.run(asking("hello"), Recorder())
    assert server.bodies[-1]["model"] == "/models/mine"


@pytest.mark.parametrize(("status", "model"), [(401, "mine"), (500, "")])
def test_a_refused_key_and_a_model_nobody_named_are_no_word(server: FakeOpenAI, status: int, model: str) -> None:
    server.list_status = status
    with pytest.raises(EngineUnavailable, match="answers"):
        engine(server, model=model)


def test_no_server_is_unavailable() -> None:
    with pytest.raises(EngineUnavailable, match="start it first"):
        OpenAIEngine(OpenAIOptions("http://127.0.0.1:9/v1"), slots=1).models()


def test_the_jobs_wishes_are_passed_on(server: FakeOpenAI) -> None:
    params = {"max_tokens": 5000, "temperature": 0, "stop": ["\n"], "seed": 7, "logit_bias": {"1": 2}, "top_p": None}
    tool = {"type": "function", "function": {"name": "find"}}
    engine(server, key="k").run(asking("hello", params=params, tools=(tool,), tool_choice="required"), Recorder())
    body = server.bodies[-1]
    assert (body["max_tokens"], body["temperature"], body["stop"], body["seed"]) == (1024, 0, ["\n"], 7)
    assert (body["tools"], body["tool_choice"]) == ([tool], "required")
    assert "logit_bias" not in body
    assert "top_p" not in body
    assert server.keys[-1] == "Bearer k"


def test_tool_calls_are_put_together(server: FakeOpenAI) -> None:
    server.mode = "tools"
    stream = Recorder()
    finish = engine(server).run(asking("where is order 7?"), stream)
    assert finish.finish_reason == "tool_calls"
    assert finish.tool_calls == (
        {"id": "call_1", "type": "function", "function": {"name": "find", "arguments": '{"order": 7}'}},
    )
    assert stream.deltas == [Delta("", 1, (CALL,)), Delta("", 1, (CALL_REST,))]


@pytest.mark.parametrize(
    ("prefill", "continues", "extra"), [("none", False, None), ("assistant", True, None), ("vllm", True, True)]
)
def test_a_begun_answer_goes_on_where_the_server_can(
    server: FakeOpenAI, prefill: str, extra: object, *, continues: bool
) -> None:
    ready, stream = engine(server, prefill=prefill), Recorder()
    ready.run(asking("hello", resume_text="Our shop"), stream)
    body = server.bodies[-1]
    assert stream.begun == [continues]
    assert ("prefill_continue" in ready.models()[0]["features"]) is continues
    assert (body["messages"][-1] == {"role": "assistant", "content": "Our shop"}) is continues
    assert body.get("continue_final_message") is extra


@pytest.mark.parametrize(
    ("mode", "code", "retryable"),
    [
        ("400", "context_too_long", True),
        ("401", "engine_refused", True),
        ("429", "engine_busy", True),
        ("500", "engine_error", True),
        ("error", "engine_error", True),
        ("cut", "engine_truncated", True),
        ("garbage", "engine_garbage", True),
    ],
)
def test_each_failure_has_its_code(server: FakeOpenAI, mode: str, code: str, *, retryable: bool) -> None:
    error = error_of(server, mode)
    assert (error.code, error.retryable) == (code, retryable)


def test_a_silent_server_times_out(server: FakeOpenAI) -> None:
    ready = engine(server, timeout_s=0.3)
    server.delay_s = 2
    with pytest.raises(EngineError) as caught:
        ready.run(asking("hello"), Recorder())
    assert caught.value.code == "engine_timeout"


def test_a_server_that_went_away_is_unreachable(server: FakeOpenAI) -> None:
    ready = engine(server)
    server.close()
    with pytest.raises(EngineError) as caught:
        ready.run(asking("hello"), Recorder())
    assert (caught.value.code, caught.value.retryable) == ("engine_unreachable", True)
