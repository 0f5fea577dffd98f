"""The seat of the ExLlamaV2 engine, which writes on an NVIDIA GPU."""

from typing import NoReturn

from gpu_miner.config import Settings
from gpu_miner.errors import EngineUnavailable


def open_exllamav2(settings: Settings) -> NoReturn:
    raise EngineUnavailable(
        f"the ExLlamaV2 engine is not part of this build yet, so {settings.name} cannot use it; it will need an NVIDIA "
        "GPU and `pip install -r gpu_miner/requirements-cuda.txt`. To use a GPU today, start an OpenAI-compatible "
        "server on it (vLLM, TabbyAPI, llama.cpp, Ollama) and choose --engine openai --openai-url http://127.0.0.1:8000/v1"
    )
