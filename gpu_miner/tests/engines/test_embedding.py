"""Jobs that ask for vectors, through the openai engine."""

import base64
import json
import struct
from collections.abc import Iterator

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions
from gpu_miner.errors import EngineError
from gpu_miner.tests.engines.fake_openai import FakeOpenAI
from gpu_miner.tests.engines.recorder import Recorder

TEXTS = ("passage: one", "passage: three", "")


@pytest.fixture
def server() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    yield server
    server.close()


def engine(server: FakeOpenAI) -> OpenAIEngine:
    return OpenAIEngine(OpenAIOptions(server.url, embedding_model="e5", timeout_s=3), slots=1)


def job() -> EngineJob:
    messages = tuple({"role": "user", "content": text} for text in TEXTS)
    return EngineJob("job-1", messages, kind="embed", model="e5")


def test_a_server_with_an_embedding_model_offers_it_beside_its_own(server: FakeOpenAI) -> None:
    cards = engine(server).models()
    assert [(card["id"], card["features"]) for card in cards][1] == ("e5", ["embed"])


def test_one_vector_per_text_comes_back_in_order(server: FakeOpenAI) -> None:
    stream = Recorder()
    engine(server).run(job(), stream)
    sent = json.loads(stream.text)
    numbers = struct.unpack("<9e", base64.b64decode(sent["vectors"]))
    assert (sent["dimensions"], numbers[0::3]) == (3, tuple(map(float, map(len, TEXTS))))
    assert server.bodies[-1] == {"model": "e5", "input": list(TEXTS)}


@pytest.mark.parametrize("mode", ["garbage", "500"])
def test_no_vectors_are_an_error_and_never_an_answer(server: FakeOpenAI, mode: str) -> None:
    server.mode = mode
    with pytest.raises(EngineError):
        engine(server).run(job(), Recorder())
