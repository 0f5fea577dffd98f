"""What ExLlamaV2 and ExLlamaV3 have in common: both enqueue jobs, iterate, and report results of the same shape."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.chat import ChatFormat
from gpu_miner.engines.batched.generator import PAGE_TOKENS, GeneratorOptions, Loaded, Prompt, Request, Written
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.errors import EngineUnavailable
from gpu_miner.protocol import as_int

# Scratch buffers and the CUDA context beside weights and cache, measured by others on 7B to 70B models.
OVERHEAD_BYTES = 900_000_000
RESERVE_BYTES = 512_000_000
RESERVE_SHARE = 0.05
WEIGHTS_FACTOR = 1.05
# Bytes of one cached number, with the scales of the quantised modes.
CACHE_BYTES = {"FP16": 2.0, "Q8": 1.0625, "Q6": 0.8125, "Q4": 0.5625}

MakeJob = Callable[[Request], Any]


@dataclass
class _Answer:
    job: Any
    written: int = 0


class ExllamaGenerator:
    """Drives one of their generators, one `iterate` a step."""

    def __init__(self, runtime: Any, make_job: MakeJob, chat: ChatFormat, loaded: Loaded) -> None:
        self.loaded = loaded
        self._runtime = runtime
        self._make_job = make_job
        self._chat = chat
        self._answers: dict[str, _Answer] = {}

    def prompt(self, job: EngineJob) -> Prompt:
        return self._chat.prompt(job)

    def start(self, request: Request) -> None:
        job = self._make_job(request)
        self._runtime.enqueue(job)
        self._answers[request.key] = _Answer(job)

    def cancel(self, key: str) -> None:
        answer = self._answers.pop(key, None)
        if answer is not None:
            self._runtime.cancel(answer.job)

    def step(self) -> list[Written]:
        news = (self._written(result) for result in self._runtime.iterate())
        return [written for written in news if written is not None]

    def close(self) -> None:
        self._runtime.clear_queue()

    def _written(self, result: dict[str, Any]) -> Written | None:
        """One result as news; the stages before the first word bring none."""
        key = result["job"].identifier
        answer = self._answers.get(key)
        if answer is None or result["stage"] not in ("streaming", "error"):
            return None
        if result["stage"] == "error":
            del self._answers[key]
            return Written(key, error=f"{type(result['error']).__name__}: {result['error']}")
        if not result["eos"]:
            ids = result.get("token_ids")
            tokens = int(ids.shape[-1]) if ids is not None else 0
            answer.written += tokens
            return Written(key, result.get("text", ""), tokens) if tokens else None
        del self._answers[key]
        ended = "length" if result["eos_reason"] == "max_new_tokens" else "stop"
        # Its own total counts the token that ended the answer, which never shows in a text.
        tokens = max(0, int(result["new_tokens"]) - answer.written)
        text = result.get("text", "") + _held_text(result)
        return Written(key, text, tokens, ended, int(result["cached_tokens"]))


def _held_text(result: dict[str, Any]) -> str:
    """Text held back as the possible beginning of a stop string, when the answer then ended in another way."""
    if result["eos_reason"] != "stop_token":
        return ""
    held = str(result.get("held", {}).get("text", ""))
    return held.removesuffix(result.get("eos_triggering_token_str", ""))


def require_cuda(engine: str, requirements: str, options: GeneratorOptions) -> None:
    """Raises EngineUnavailable where the engine cannot run; chooses the GPU before torch sees any."""
    for package in ("torch", engine):
        if find_spec(package) is None:
            raise EngineUnavailable(f"the {engine} engine needs {package}: see gpu_miner/{requirements}")
    if options.device.startswith("cuda:"):
        os.environ["CUDA_VISIBLE_DEVICES"] = options.device.removeprefix("cuda:")
    # The cache is one large block from the start; what comes and goes beside it must not fragment the rest.
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")
    import torch

    if not torch.cuda.is_available():
        raise EngineUnavailable(
            f"the {engine} engine needs an NVIDIA GPU with CUDA, and torch {torch.__version__} finds none here; "
            "without one use --engine transformers, or --engine openai with a server"
        )


def free_gpu_bytes() -> int:
    import torch

    return sum(int(torch.cuda.mem_get_info(device)[0]) for device in range(torch.cuda.device_count()))


def cache_tokens_for(options: GeneratorOptions, folder: ModelFolder, free_bytes: int) -> int:
    """Tokens of the cache of all jobs together, in whole pages: as asked, else what fits beside the weights."""
    wanted = options.cache_tokens or _fitting_tokens(options, folder, free_bytes)
    pages = int(wanted * options.cache_share) // PAGE_TOKENS
    if pages < 1:
        raise EngineUnavailable(
            f"the model does not fit: {free_bytes / 1e9:.1f} GB of GPU memory are free and its weights alone take "
            f"{_weight_bytes(folder) / 1e9:.1f} GB; choose a smaller one or --cache-mode Q4"
        )
    return pages * PAGE_TOKENS


def _fitting_tokens(options: GeneratorOptions, folder: ModelFolder, free_bytes: int) -> int:
    left = free_bytes * (1 - RESERVE_SHARE) - RESERVE_BYTES - OVERHEAD_BYTES - _weight_bytes(folder) * WEIGHTS_FACTOR
    fitting = int(left / bytes_per_token(folder, options.cache_mode))
    return min(fitting, options.slots * min(options.max_context, folder.max_context))


def bytes_per_token(folder: ModelFolder, cache_mode: str) -> float:
    """Keys and values of one token in all layers."""
    config = folder.text_config
    heads = as_int(config.get("num_attention_heads"), 1)
    size = as_int(config.get("head_dim"), as_int(config.get("hidden_size"), 0) // heads)
    layers, kv_heads = as_int(config.get("num_hidden_layers"), 1), as_int(config.get("num_key_value_heads"), heads)
    return 2 * layers * kv_heads * size * CACHE_BYTES[cache_mode]


def _weight_bytes(folder: ModelFolder) -> int:
    return sum(path.stat().st_size for path in folder.path.glob("*.safetensors"))


def loaded_by(engine: str, options: GeneratorOptions, folder: ModelFolder, chat: ChatFormat, tokens: int) -> Loaded:
    optional = {"tools": chat.writes_tool_calls, "json": find_spec("llguidance") is not None}
    return Loaded(
        name=options.name or folder.path.name,
        backend=engine,
        quant=folder.quantization,
        max_context=min(options.max_context, folder.max_context, tokens),
        cache_tokens=tokens,
        features=("prefill_continue", *(name for name, there in optional.items() if there)),
    )
