"""What every engine must do, whatever writes its words."""

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gpu_miner.engines.base import Cancelled, Engine, EngineJob, Finish
from gpu_miner.engines.batched.engine import BatchedEngine
from gpu_miner.engines.batched.generator import GeneratorOptions
from gpu_miner.engines.extractive import ExtractiveEngine
from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions
from gpu_miner.engines.scripted import Act, Script, ScriptedEngine
from gpu_miner.tests.engines.batched.runtimes import needs_cuda, needs_transformers, tiny_options
from gpu_miner.tests.engines.fake_openai import FakeOpenAI
from gpu_miner.tests.engines.recorder import Recorder, asking

FACTS = "Our shop opens at nine in the morning. We are closed on Sundays. Parking is behind the house."
TEXT = "Our shop opens at nine in the morning."


class Workshop:
    """What the engines of this module are made with; processes that load a model are started once and shared."""

    def __init__(self, folder: Path) -> None:
        self.server = FakeOpenAI()
        self.server.delay_s = 0.02
        self.folder = folder
        self.shared: dict[str, Engine] = {}

    def share(self, name: str, make: Callable[[], Engine]) -> Engine:
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]

    def close(self) -> None:
        for engine in self.shared.values():
            engine.close()
        self.server.close()


def scripted(workshop: Workshop) -> Engine:
    return ScriptedEngine(Script((Act(text=TEXT, delay_ms=20),)), slots=3)


def extractive(workshop: Workshop) -> Engine:
    return ExtractiveEngine(slots=3, words_per_s=50)


def openai(workshop: Workshop) -> Engine:
    engine = OpenAIEngine(OpenAIOptions(workshop.server.url), slots=3)
    engine.models()
    return engine


def batched(workshop: Workshop) -> Engine:
    options = GeneratorOptions("scripted", slots=3, script='{"step_ms": 20, "tokens": 16}')
    return workshop.share("scripted", lambda: opened(options))


def transformers(workshop: Workshop) -> Engine:
    return workshop.share("transformers", lambda: opened(tiny_options("transformers", workshop.folder)))


def exllamav2(workshop: Workshop) -> Engine:
    return workshop.share("exllamav2", lambda: opened(tiny_options("exllamav2", workshop.folder)))


def exllamav3(workshop: Workshop) -> Engine:
    return workshop.share("exllamav3", lambda: opened(tiny_options("exllamav3", workshop.folder)))


def opened(options: GeneratorOptions) -> Engine:
    engine = BatchedEngine(options)
    engine.models()
    return engine


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    workshop = Workshop(tmp_path_factory.mktemp("model"))
    yield workshop
    workshop.close()


ENGINES = [
    scripted,
    extractive,
    openai,
    batched,
    pytest.param(transformers, marks=needs_transformers),
    pytest.param(exllamav2, marks=needs_cuda("exllamav2")),
    pytest.param(exllamav3, marks=needs_cuda("exllamav3")),
]


@pytest.mark.parametrize("make", ENGINES)
class TestEngine:
    """One set of promises, kept by each engine."""

    @pytest.fixture
    def engine(self, make: Callable[[Workshop], Engine], workshop: Workshop) -> Iterator[Engine]:
        engine = make(workshop)
        yield engine
        if engine not in workshop.shared.values():
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

    def test_it_has_room_for_as_many_jobs_as_slots(self, engine: Engine) -> None:
        assert engine.room() == 3

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
        # A model of random weights never finds an end.
        assert finish.finish_reason in ("stop", "length")
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
