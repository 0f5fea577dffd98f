"""What every engine must do, whatever writes its words."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gpu_miner.engines.base import Cancelled, Engine, EngineJob, Finish
from gpu_miner.engines.extractive import ExtractiveEngine
from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions
from gpu_miner.engines.scripted import Act, Script, ScriptedEngine
from gpu_miner.tests.engines.fake_openai import FakeOpenAI
from gpu_miner.tests.engines.recorder import Recorder, asking

FACTS = "Our shop opens at nine in the morning. We are closed on Sundays. Parking is behind the house."
TEXT = "Our shop opens at nine in the morning."


@pytest.fixture
def openai_server() -> Iterator[FakeOpenAI]:
    server = FakeOpenAI()
    server.delay_s = 0.02
    yield server
    server.close()


def scripted(server: FakeOpenAI) -> Engine:
    return ScriptedEngine(Script((Act(text=TEXT, delay_ms=20),)), slots=3)


def extractive(server: FakeOpenAI) -> Engine:
    return ExtractiveEngine(slots=3, words_per_s=50)


def openai(server: FakeOpenAI) -> Engine:
    engine = OpenAIEngine(OpenAIOptions(server.url), slots=3)
    engine.models()
    return engine


@pytest.mark.parametrize("make", [scripted, extractive, openai])
class TestEngine:
    """One set of promises, kept by each engine."""

    @pytest.fixture
    def engine(self, make: Callable[[FakeOpenAI], Engine], openai_server: FakeOpenAI) -> Iterator[Engine]:
        engine = make(openai_server)
        yield engine
        engine.close()

    @pytest.fixture
    def job(self) -> EngineJob:
        return asking("When does the shop open?", FACTS)

    def test_it_names_its_models(self, engine: Engine) -> None:
        for model in engine.models():
            assert model["id"]
            assert model["backend"]
            assert 0 < model["max_output"] <= model["max_context"]
            assert isinstance(model["features"], list)

    def test_it_has_the_slots_it_was_given(self, engine: Engine) -> None:
        assert engine.slots == 3

    def test_it_admits_an_ordinary_job(self, engine: Engine, job: EngineJob) -> None:
        assert engine.admits(job)

    def test_it_writes_in_several_steps(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder()
        engine.run(job, stream)
        assert len(stream.deltas) > 3
        assert stream.text.strip()

    def test_it_begins_once_and_first(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder()
        engine.run(job, stream)
        assert stream.begun == [False]

    def test_it_tells_how_it_ended_and_what_it_used(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder()
        finish = engine.run(job, stream)
        assert finish.finish_reason == "stop"
        assert finish.usage is not None
        assert finish.usage.prompt_tokens > 0
        assert finish.usage.completion_tokens == stream.tokens

    def test_the_same_job_brings_the_same_words(self, engine: Engine, job: EngineJob) -> None:
        first, second = Recorder(), Recorder()
        engine.run(job, first)
        engine.run(job, second)
        assert first.text == second.text

    def test_it_stops_when_it_is_cancelled(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder(cancel_after=2)
        with pytest.raises(Cancelled):
            engine.run(job, stream)
        assert len(stream.deltas) <= 3

    def test_a_job_cancelled_before_its_start_writes_nothing(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder(cancel_after=0)
        with pytest.raises(Cancelled):
            engine.run(job, stream)
        assert stream.text == ""

    def test_a_cancellation_is_heard_within_half_a_second(self, engine: Engine, job: EngineJob) -> None:
        stream = Recorder(cancel_after=1)
        started_at = time.monotonic()
        with pytest.raises(Cancelled):
            engine.run(job, stream)
        assert time.monotonic() - started_at < 0.5

    def test_jobs_run_side_by_side(self, engine: Engine, job: EngineJob) -> None:
        streams = [Recorder() for _ in range(3)]
        finishes: list[Finish] = []
        threads = [threading.Thread(target=lambda s=s: finishes.append(engine.run(job, s))) for s in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(finishes) == 3
        assert len({stream.text for stream in streams}) == 1
