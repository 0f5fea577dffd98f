"""ExLlamaV2: EXL2, GPTQ and fp16 weights on an NVIDIA GPU, through its synchronous dynamic generator.

Not its asynchronous one, which runs each step inside the event loop and never recovers from an exception.
"""

from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from gpu_miner.engines.batched import paged_attention
from gpu_miner.engines.batched.chat import ChatFormat
from gpu_miner.engines.batched.exllama import (
    ExllamaGenerator,
    cache_tokens_for,
    free_gpu_bytes,
    loaded_by,
    require_cuda,
)
from gpu_miner.engines.batched.generator import PAGE_TOKENS, GeneratorOptions, Progress, Request
from gpu_miner.engines.batched.json_filter import exllamav2_filter
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.rope import folder_with_old_names
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.errors import EngineError, EngineUnavailable

# Rows of each sequence that one pass can hold; the generator's own default.
MAX_Q_SIZE = 8
MAX_OUTPUT_ROWS = 16


def load_exllamav2(options: GeneratorOptions, progress: Progress) -> ExllamaGenerator:
    """Raises EngineUnavailable when packages, GPU or model do not fit."""
    folder = ModelFolder(options.model)
    require_cuda("exllamav2", "requirements-cuda.txt", options)
    paged_attention.install()
    progress("exllamav2 (its first start compiles for minutes)", 0.0)
    import_exllamav2()
    chat = ChatFormat(folder)
    tokens = cache_tokens_for(options, folder, free_gpu_bytes())
    config = make_config(folder, options)
    if config.no_flash_attn:
        raise EngineUnavailable("this model needs the real flash-attn package to be batched: pip install flash-attn")
    model, cache, tokenizer = _load(config, options.cache_mode, tokens, progress)
    runtime = make_runtime(model, cache, tokenizer, options)
    runtime.warmup()
    loaded = loaded_by("exllamav2", options, folder, chat, tokens)
    eos_ids = folder.eos_ids
    return ExllamaGenerator(runtime, lambda request: make_job(request, eos_ids, model, tokenizer), chat, loaded)


def import_exllamav2() -> Any:
    """Its wheel from PyPI compiles the CUDA extension at the import, which can fail in many ways."""
    try:
        import exllamav2
    except (OSError, RuntimeError, ImportError) as error:
        raise EngineUnavailable(
            f"exllamav2 cannot be imported: {error}; it needs a prebuilt wheel for this torch, or nvcc, g++ and ninja"
        ) from error
    return exllamav2


def make_config(folder: ModelFolder, options: GeneratorOptions) -> Any:
    from exllamav2 import ExLlamaV2Config

    overlay = folder_with_old_names(folder.path, Path(mkdtemp(prefix="mia-model-")))
    config = ExLlamaV2Config(str(overlay))
    if config.arch.arch_string != config.architecture:
        # It would load what it does not know as Llama, and write nonsense.
        raise EngineUnavailable(f"ExLlamaV2 does not know {config.architecture}; try --engine exllamav3")
    config.max_seq_len = min(options.max_context, folder.max_context)
    chunk = chunk_size(options)
    # One pass must hold a prompt's chunk as well as a row block of every job.
    config.max_input_len = max(chunk, MAX_Q_SIZE * options.slots)
    config.max_attention_size = config.max_input_len**2
    config.max_output_len = MAX_OUTPUT_ROWS
    config.arch_compat_overrides()
    return config


def chunk_size(options: GeneratorOptions) -> int:
    return max(PAGE_TOKENS, options.chunk_size // PAGE_TOKENS * PAGE_TOKENS)


def _load(config: Any, cache_mode: str, tokens: int, progress: Progress) -> tuple[Any, Any, Any]:
    from exllamav2 import ExLlamaV2, ExLlamaV2Tokenizer

    model = ExLlamaV2(config)
    cache = cache_class(cache_mode)(model, max_seq_len=tokens, lazy=True)
    model.load_autosplit(cache, callback=lambda done, of: progress("weights", done / max(1, of)))
    return model, cache, ExLlamaV2Tokenizer(config)


def cache_class(cache_mode: str) -> Any:
    import exllamav2

    names = {"FP16": "ExLlamaV2Cache", "Q8": "ExLlamaV2Cache_Q8", "Q6": "ExLlamaV2Cache_Q6", "Q4": "ExLlamaV2Cache_Q4"}
    return getattr(exllamav2, names[cache_mode])


def make_runtime(model: Any, cache: Any, tokenizer: Any, options: GeneratorOptions) -> Any:
    from exllamav2.generator import ExLlamaV2DynamicGenerator

    return ExLlamaV2DynamicGenerator(
        model=model,
        cache=cache,
        tokenizer=tokenizer,
        # Always said: the default reserves main memory for 256 rows of logits, 1.25 GB with a large vocabulary.
        max_batch_size=options.slots,
        max_chunk_size=chunk_size(options),
        max_q_size=MAX_Q_SIZE,
        paged=True,
    )


def make_job(request: Request, eos_ids: list[int], model: Any, tokenizer: Any) -> Any:
    import torch
    from exllamav2.generator import ExLlamaV2DynamicJob

    sampling = request.sampling
    filters = [] if sampling.schema is None else [exllamav2_filter(model, tokenizer, eos_ids, sampling.schema)]
    try:
        return ExLlamaV2DynamicJob(
            input_ids=torch.tensor([list(request.prompt.tokens)], dtype=torch.long),
            max_new_tokens=sampling.max_tokens,
            gen_settings=sampler_settings(sampling),
            seed=sampling.seed,
            stop_conditions=[*eos_ids, *sampling.stop],
            decode_special_tokens=False,
            filters=filters,
            identifier=request.key,
        )
    except (AssertionError, ValueError) as error:
        raise EngineError("bad_request", f"exllamav2 refuses the job: {error}", retryable=False) from error


def sampler_settings(sampling: Sampling) -> Any:
    """Temperature 0 is said as "only the best token", because a division by it would not do."""
    from exllamav2.generator import ExLlamaV2Sampler

    penalties = {
        "token_repetition_penalty": sampling.repetition_penalty,
        "token_frequency_penalty": sampling.frequency_penalty,
        "token_presence_penalty": sampling.presence_penalty,
    }
    if sampling.is_greedy:
        return ExLlamaV2Sampler.Settings.greedy(**penalties)
    return ExLlamaV2Sampler.Settings(
        temperature=sampling.temperature, top_k=sampling.top_k, top_p=sampling.top_p, min_p=sampling.min_p, **penalties
    )
