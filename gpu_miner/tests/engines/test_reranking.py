"""Jobs that rank passages, through the openai engine."""

import json
from collections.abc import Iterator

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions
from gpu_miner.errors import EngineError
from gpu_miner.tests.engines.fake_openai import FakeOpenAI
from gpu_miner.tests.engines.recorder import Recorder

TEXTS = ("What is it?", "long passage", "short")


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    yield server
    server.close()


def engine(server: FakeOpenAI) -> OpenAIEngine:
    return OpenAIEngine(OpenAIOptions(server.url, rerank_model="judge", timeout_s=3), slots=1)


def job() -> EngineJob:
    messages = tuple({"role": "user", "content": text} for text in TEXTS)
    return EngineJob("job-1", messages, kind="rerank", model="judge")


def test_a_server_with_a_rerank_model_offers_it_beside_its_own(server: FakeOpenAI) -> None:
    assert [(card["id"], card["features"]) for card in engine(server).models()][1] == ("judge", ["rerank"])


def test_one_score_per_passage_comes_back_in_order(server: FakeOpenAI) -> None:
    stream = Recorder()
    engine(server).run(job(), stream)
    assert json.loads(stream.text) == {"scores": [12.0, 5.0]}
    assert (server.bodies[-1]["query"], server.bodies[-1]["documents"]) == (TEXTS[0], list(TEXTS[1:]))


@pytest.mark.parametrize("mode", ["garbage", "500"])
def test_a_missing_score_or_an_error_is_no_answer(server: FakeOpenAI, mode: str) -> None:
    server.mode = mode
    with pytest.raises(EngineError):
        engine(server).run(job(), Recorder())
