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


def _exllamav2(settings: Settings) -> Engine:
    from gpu_miner.engines.exllamav2 import open_exllamav2

    return open_exllamav2(settings)


_MAKERS: dict[str, Callable[[Settings], Engine]] = {
    "extractive": _extractive,
    "openai": _openai,
    "scripted": _scripted,
    "exllamav2": _exllamav2,
}
