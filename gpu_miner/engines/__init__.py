"""The engines a miner can be started with; each is imported only when it is chosen."""

from collections.abc import Callable

from gpu_miner.config import Settings
from gpu_miner.engines.base import Engine


def create_engine(settings: Settings) -> Engine:
    """The engine of that name; raises EngineUnavailable when it cannot run here."""
    return _MAKERS[settings.engine](settings)


def _extractive(settings: Settings) -> Engine:
    from gpu_miner.engines.extractive import ExtractiveEngine

    return ExtractiveEngine(slots=settings.slots, words_per_s=settings.words_per_s)


def _openai(settings: Settings) -> Engine:
    from gpu_miner.engines.openai import OpenAIEngine, OpenAIOptions

    return OpenAIEngine(
        OpenAIOptions(
            url=settings.openai_url,
            model=settings.openai_model,
            embedding_model=settings.openai_embedding_model,
            rerank_model=settings.openai_rerank_model,
            key=settings.openai_key,
            prefill=settings.openai_prefill,
            timeout_s=settings.openai_timeout_s,
            max_context=settings.max_context,
            max_output=settings.max_output,
        ),
        slots=settings.slots,
    )


def _scripted(settings: Settings) -> Engine:
    from gpu_miner.engines.scripted import ScriptedEngine, load_script

    return ScriptedEngine(load_script(settings.script), slots=settings.slots)


def _batched(settings: Settings) -> Engine:
    from gpu_miner.engines.batched.engine import BatchedEngine
    from gpu_miner.engines.batched.generator import GeneratorOptions

    options = GeneratorOptions(
        kind=settings.engine,
        model=str(settings.model),
        name=settings.model_name,
        slots=settings.slots,
        max_context=settings.max_context,
        max_output=settings.max_output,
        cache_mode=settings.cache_mode,
        cache_tokens=settings.cache_tokens,
        chunk_size=settings.chunk_size,
        device=settings.device,
    )
    return BatchedEngine(options, digest=settings.model_digest)


_MAKERS: dict[str, Callable[[Settings], Engine]] = {
    "extractive": _extractive,
    "openai": _openai,
    "scripted": _scripted,
    "transformers": _batched,
    "exllamav2": _batched,
    "exllamav3": _batched,
}
