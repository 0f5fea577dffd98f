"""What both ExLlamas share: results turned into news, and how large a cache is."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs jinja2 and tokenizers: gpu_miner/requirements-transformers.txt")
pytest.importorskip("tokenizers", reason="needs jinja2 and tokenizers: gpu_miner/requirements-transformers.txt")

from gpu_miner.engines.batched.exllama import (
    ExllamaGenerator,
    bytes_per_token,
    cache_tokens_for,
    require_cuda,
)
from gpu_miner.engines.batched.generator import GeneratorOptions, Loaded, Prompt, Request, Written
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.errors import EngineUnavailable

QWEN_7B = {"num_hidden_layers": 28, "num_attention_heads": 28, "num_key_value_heads": 4, "hidden_size": 3584}


class Runtime:
    """Iterates over results that are laid out for it."""

    def __init__(self) -> None:
        self.coming: list[dict[str, Any]] = []
        self.enqueued: list[Any] = []
        self.cancelled: list[Any] = []

    def enqueue(self, job: Any) -> None:
        self.enqueued.append(job)

    def cancel(self, job: Any) -> None:
        self.cancelled.append(job)

    def iterate(self) -> list[dict[str, Any]]:
        coming, self.coming = self.coming, []
        return coming


@pytest.fixture
def runtime() -> Runtime:
    return Runtime()


@pytest.fixture
def generator(runtime: Runtime) -> ExllamaGenerator:
    loaded = Loaded("m", "exllamav2", "", 4096, 8192, ())
    made = ExllamaGenerator(runtime, lambda request: SimpleNamespace(identifier=request.key), None, loaded)  # type: ignore[arg-type]
    made.start(Request("a", Prompt([1, 2]), Sampling(9)))
    return made


def result(runtime: Runtime, **fields: Any) -> dict[str, Any]:
    return {"job": runtime.enqueued[0], "stage": "streaming", "eos": False, **fields}


def ids(count: int) -> SimpleNamespace:
    return SimpleNamespace(shape=(1, count))


def end(runtime: Runtime, reason: str, new_tokens: int, **fields: Any) -> dict[str, Any]:
    told = {"eos": True, "eos_reason": reason, "new_tokens": new_tokens, "cached_tokens": 256}
    return result(runtime, **told, **fields)


def test_words_come_with_the_tokens_they_took(runtime: Runtime, generator: ExllamaGenerator) -> None:
    runtime.coming = [
        result(runtime, stage="started"),
        result(runtime, stage="prefill", curr_progress=1, max_progress=2),
        result(runtime),
        result(runtime, text="Hé", token_ids=ids(3)),
    ]
    assert generator.step() == [Written("a", "Hé", 3)]


@pytest.mark.parametrize(
    ("reason", "ended"),
    [("stop_token", "stop"), ("stop_string", "stop"), ("max_new_tokens", "length"), ("loop_detected", "stop")],
)
def test_the_last_result_settles_the_count(
    runtime: Runtime, generator: ExllamaGenerator, reason: str, ended: str
) -> None:
    runtime.coming = [result(runtime, text="Hi", token_ids=ids(1)), end(runtime, reason, 4, text="!")]
    assert generator.step() == [Written("a", "Hi", 1), Written("a", "!", 3, ended, 256)]


def test_text_held_back_for_a_stop_string_is_given_out_at_the_end(
    runtime: Runtime, generator: ExllamaGenerator
) -> None:
    held = {"text": "\n\nUs<|im_end|>"}
    runtime.coming = [end(runtime, "stop_token", 2, held=held, eos_triggering_token_str="<|im_end|>")]
    assert generator.step()[0].text == "\n\nUs"


def test_a_failed_job_of_exllamav3_ends_alone(runtime: Runtime, generator: ExllamaGenerator) -> None:
    runtime.coming = [result(runtime, stage="error", eos=True, error=RuntimeError("bad page"))]
    assert generator.step() == [Written("a", error="RuntimeError: bad page")]
    runtime.coming = [result(runtime, text="late", token_ids=ids(1))]
    assert generator.step() == []


def test_a_cancelled_job_frees_its_pages(runtime: Runtime, generator: ExllamaGenerator) -> None:
    generator.cancel("a")
    generator.cancel("unknown")
    assert runtime.cancelled == runtime.enqueued


def folder(path: Path, weights: int, **config: Any) -> ModelFolder:
    (path / "config.json").write_text(json.dumps({**QWEN_7B, "max_position_embeddings": 32768, **config}))
    with (path / "model.safetensors").open("wb") as file:
        file.truncate(weights)
    return ModelFolder(str(path))


def test_the_cache_of_a_known_model(tmp_path: Path) -> None:
    model = folder(tmp_path, 0)
    assert bytes_per_token(model, "FP16") == 57_344
    assert bytes_per_token(model, "Q4") == pytest.approx(57_344 * 0.28, rel=0.02)


def test_the_cache_takes_what_the_weights_leave(tmp_path: Path) -> None:
    model = folder(tmp_path, 3_700_000_000)
    options = GeneratorOptions("exllamav2", slots=8, max_context=8192, cache_mode="Q8")
    tokens = cache_tokens_for(options, model, 8_000_000_000)
    assert tokens % 256 == 0
    assert 60_000 < tokens <= 8 * 8192
    assert cache_tokens_for(options, model, 80_000_000_000) == 8 * 8192


def test_after_an_out_of_memory_the_cache_is_half(tmp_path: Path) -> None:
    model = folder(tmp_path, 0)
    options = GeneratorOptions("exllamav2", cache_tokens=10_000, cache_share=0.5)
    assert cache_tokens_for(options, model, 0) == 4_864


def test_a_model_that_does_not_fit_is_refused_with_a_way_out(tmp_path: Path) -> None:
    model = folder(tmp_path, 9_000_000_000)
    with pytest.raises(EngineUnavailable, match="choose a smaller one"):
        cache_tokens_for(GeneratorOptions("exllamav2"), model, 8_000_000_000)


def test_a_machine_without_the_packages_or_a_gpu_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    with pytest.raises(EngineUnavailable, match=r"requirements-cuda\.txt|NVIDIA GPU"):
        require_cuda("exllamav2", "requirements-cuda.txt", GeneratorOptions("exllamav2"))
