"""ExLlamaV3: EXL3 and fp16 weights on an NVIDIA GPU; the successor of ExLlamaV2, where new models arrive."""

from typing import Any

from gpu_miner.engines.batched.chat import ChatFormat
from gpu_miner.engines.batched.exllama import (
    ExllamaGenerator,
    cache_tokens_for,
    free_gpu_bytes,
    loaded_by,
    require_cuda,
)
from gpu_miner.engines.batched.exllamav2 import chunk_size
from gpu_miner.engines.batched.generator import GeneratorOptions, Progress, Request
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.errors import EngineError, EngineUnavailable

CACHE_BITS = {"Q8": 8, "Q6": 6, "Q4": 4}
# A small model that repeats itself would fill its whole limit: the same 20 tokens this often end the answer.
LOOP = (20, 8)
WRONG_FORMATS = frozenset({"gptq", "exl2", "awq"})


def load_exllamav3(options: GeneratorOptions, progress: Progress) -> ExllamaGenerator:
    """Raises EngineUnavailable when packages, GPU or model do not fit."""
    folder = ModelFolder(options.model)
    method = folder.quantization.partition("-")[0]
    if method in WRONG_FORMATS:
        raise EngineUnavailable(
            f"ExLlamaV3 reads EXL3 and fp16 weights, not {method}; use --engine exllamav2 for these"
        )
    require_cuda("exllamav3", "requirements-exllamav3.txt", options)
    progress("exllamav3 (its first start compiles for minutes)", 0.0)
    import_exllamav3()
    chat = ChatFormat(folder)
    tokens = cache_tokens_for(options, folder, free_gpu_bytes())
    runtime, tokenizer = _load(folder, options, tokens, progress)
    loaded = loaded_by("exllamav3", options, folder, chat, tokens)
    eos_ids = folder.eos_ids
    return ExllamaGenerator(runtime, lambda request: make_job(request, eos_ids, tokenizer), chat, loaded)


def import_exllamav3() -> Any:
    try:
        import exllamav3
    except (OSError, RuntimeError, ImportError) as error:
        raise EngineUnavailable(
            f"exllamav3 cannot be imported: {error}; it needs a prebuilt wheel for this torch, or nvcc, g++ and ninja"
        ) from error
    return exllamav3


def _load(folder: ModelFolder, options: GeneratorOptions, tokens: int, progress: Progress) -> tuple[Any, Any]:
    from exllamav3 import Cache, Config, Generator, Model, Tokenizer

    config = Config.from_directory(str(folder.path))
    model = Model.from_config(config)
    # Before the weights: the cache is laid out while they load.
    cache = Cache(model, max_num_tokens=tokens, max_batch_size=options.slots, **cache_layers(options.cache_mode))
    model.load(max_chunk_size=chunk_size(options), callback=lambda done, of: progress("weights", done / max(1, of)))
    tokenizer = Tokenizer.from_config(config)
    runtime = Generator(
        model=model,
        cache=cache,
        tokenizer=tokenizer,
        max_batch_size=options.slots,
        max_chunk_size=chunk_size(options),
    )
    return runtime, tokenizer


def cache_layers(cache_mode: str) -> dict[str, object]:
    if cache_mode == "FP16":
        return {}
    from exllamav3 import CacheLayer_quant

    bits = CACHE_BITS[cache_mode]
    return {"layer_type": CacheLayer_quant, "k_bits": bits, "v_bits": bits}


def make_job(request: Request, eos_ids: list[int], tokenizer: Any) -> Any:
    import torch
    from exllamav3 import Job

    sampling = request.sampling
    try:
        return Job(
            input_ids=torch.tensor([list(request.prompt.tokens)], dtype=torch.long),
            max_new_tokens=sampling.max_tokens,
            sampler=sampler(sampling),
            seed=sampling.seed,
            stop_conditions=[*eos_ids, *sampling.stop],
            decode_special_tokens=False,
            filters=[] if sampling.schema is None else [_json_filter(tokenizer, sampling)],
            stop_on_loop=LOOP,
            identifier=request.key,
        )
    except (AssertionError, ValueError) as error:
        raise EngineError("bad_request", f"exllamav3 refuses the job: {error}", retryable=False) from error


def sampler(sampling: Sampling) -> Any:
    from exllamav3 import ComboSampler

    return ComboSampler(
        rep_p=sampling.repetition_penalty,
        freq_p=sampling.frequency_penalty,
        pres_p=sampling.presence_penalty,
        temperature=0.0 if sampling.is_greedy else sampling.temperature,
        min_p=sampling.min_p,
        top_k=sampling.top_k,
        top_p=sampling.top_p,
    )


def _json_filter(tokenizer: Any, sampling: Sampling) -> Any:
    from importlib.util import find_spec

    if find_spec("llguidance") is None:
        raise EngineError("unsupported", "JSON output needs the package llguidance on this miner", retryable=True)
    from exllamav3 import LLGuidanceFilter

    return LLGuidanceFilter(tokenizer, eos_after_completed=True, json_schema=sampling.schema or {"type": "object"})
