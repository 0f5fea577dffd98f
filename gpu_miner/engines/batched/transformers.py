"""Continuous batching of Hugging Face transformers: any torch device, the CPU among them."""

import logging
import os
from dataclasses import dataclass
from importlib.util import find_spec
from queue import Empty
from time import monotonic, sleep
from typing import Any

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.chat import ChatFormat
from gpu_miner.engines.batched.generator import (
    PAGE_TOKENS,
    GeneratorOptions,
    Loaded,
    Progress,
    Prompt,
    Request,
    Written,
)
from gpu_miner.engines.batched.model_folder import ModelFolder
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.engines.batched.stops import StopStrings
from gpu_miner.errors import EngineError, EngineUnavailable

logger = logging.getLogger(__name__)

# A step waits this long for words, then looks whether there are new jobs or cancellations.
STEP_WAIT_S = 0.05
STOP_S = 5.0
CACHE_S = 120.0
# Its thread may hang while ours goes on; the longest step there is, part of a prompt on a CPU, takes a minute or two.
STUCK_AFTER_S = 240.0
# On a CPU the cache is main memory: enough for every slot to have an ordinary conversation.
CPU_TOKENS_PER_SLOT = 4_096
GPU_CACHE_SHARE = 0.8
NOT_PER_JOB = ("min_p", "frequency_penalty", "presence_penalty")


@dataclass
class _Answer:
    """One job being written: its text so far lives in the decoder, its stop strings in their own watch."""

    eos_ids: frozenset[int]
    decoder: Any
    stops: StopStrings
    taken: int = 0


class TransformersGenerator:
    """Feeds transformers' batching thread and collects what it writes."""

    def __init__(self, manager: Any, chat: ChatFormat, loaded: Loaded, folder: ModelFolder, *, vocab: int) -> None:
        self.loaded = loaded
        self._manager = manager
        self._chat = chat
        self._eos_ids = folder.eos_ids
        self._vocab = vocab
        self._answers: dict[str, _Answer] = {}
        self._steps_seen, self._moved_at = -1, monotonic()

    def prompt(self, job: EngineJob) -> Prompt:
        return self._chat.prompt(job)

    def start(self, request: Request) -> None:
        sampling = request.sampling
        _refuse_unsupported(sampling)
        from tokenizers.decoders import DecodeStream

        self._answers[request.key] = _Answer(
            frozenset(self._eos_ids), DecodeStream(skip_special_tokens=True), StopStrings(sampling.stop)
        )
        self._manager.add_request(
            list(request.prompt.tokens),
            request_id=request.key,
            max_new_tokens=sampling.max_tokens,
            streaming=True,
            eos_token_id=self._eos_ids or [-1],
            **_choice(sampling, self._vocab),
        )

    def cancel(self, key: str) -> None:
        if self._answers.pop(key, None) is not None:
            self._manager.cancel_request(key)

    def step(self) -> list[Written]:
        self._raise_what_broke()
        self._raise_when_stuck()
        outputs = self._manager.output_router.output_queue
        news: list[Written] = []
        try:
            written = self._written(outputs.get(timeout=STEP_WAIT_S))
            while True:
                news += [written] if written is not None else []
                written = self._written(outputs.get_nowait())
        except Empty:
            return news

    def close(self) -> None:
        self._manager.stop(block=True, timeout=STOP_S, hard_stop=True)

    def _raise_what_broke(self) -> None:
        """Its thread swallows what ends it; an out-of-memory must be known as one."""
        fatal = self._manager.background_thread_status.fatal_error
        if fatal is not None:
            raise fatal
        if not self._manager.is_running():
            raise RuntimeError("the batching thread of transformers has ended")

    def _raise_when_stuck(self) -> None:
        steps = int(getattr(self._manager, "current_batch", 0))
        if steps != self._steps_seen or not self._answers:
            self._steps_seen, self._moved_at = steps, monotonic()
        elif monotonic() - self._moved_at > STUCK_AFTER_S:
            raise RuntimeError("the batching thread of transformers no longer steps")

    def _written(self, output: Any) -> Written | None:
        answer = self._answers.get(output.request_id)
        if answer is None:
            return None
        if output.error:
            self._raise_what_broke()
            del self._answers[output.request_id]
            return Written(output.request_id, error=str(output.error))
        new = output.generated_tokens[answer.taken :]
        answer.taken += len(new)
        return self._news(output.request_id, answer, new, is_last=output.is_finished())

    def _news(self, key: str, answer: _Answer, new: list[int], *, is_last: bool) -> Written | None:
        text, ended = "", ""
        for token in new:
            if token in answer.eos_ids:
                ended = "stop"
                break
            text += answer.stops.feed(answer.decoder.step(self._chat.tokenizer, token) or "")
            if answer.stops.met:
                ended = "stop"
                break
        if not ended and is_last:
            ended = "length"
        if ended:
            del self._answers[key]
            if not answer.stops.met:
                text += answer.stops.close()
            if not is_last:
                self._manager.cancel_request(key)
        return Written(key, text, len(new), ended) if new or ended else None


def _choice(sampling: Sampling, vocab: int) -> dict[str, float | int]:
    """What transformers takes for each request; top_k = 1 is greedy there, and only the whole vocabulary no limit."""
    if sampling.is_greedy:
        return {"temperature": 1.0, "top_k": 1, "top_p": 1.0}
    top_k = min(sampling.top_k or vocab, vocab)
    return {"temperature": sampling.temperature, "top_k": top_k, "top_p": sampling.top_p}


def _refuse_unsupported(sampling: Sampling) -> None:
    refused = [name for name in NOT_PER_JOB if getattr(sampling, name)]
    if sampling.seed is not None and not sampling.is_greedy:
        refused.append("seed")
    if sampling.schema is not None:
        refused.append("response_format")
    if refused:
        words = f"the transformers engine of this miner cannot honour {', '.join(refused)}"
        raise EngineError("unsupported", words, retryable=True)


def load_transformers(options: GeneratorOptions, progress: Progress) -> TransformersGenerator:
    """Raises EngineUnavailable when packages, the model or the device are missing."""
    folder = ModelFolder(options.model)
    _require_packages()
    # The model is a folder; nothing is to be looked up, whatever its files mention.
    os.environ["HF_HUB_OFFLINE"] = "1"
    progress("packages", 0.0)
    import torch

    device = options.device or _best_device(torch)
    chat = ChatFormat(folder)
    progress("weights", 0.3)
    model = _load_model(folder, torch.float32 if device == "cpu" else "auto", device)
    progress("cache", 0.9)
    cache, cache_tokens = _cache(options, device)
    manager = _start_batching(model, options, cache)
    loaded = Loaded(
        name=options.name or folder.path.name,
        backend="transformers",
        quant=folder.quantization,
        max_context=min(options.max_context, folder.max_context),
        cache_tokens=cache_tokens or _built_cache(manager),
        features=("prefill_continue", *(("tools",) if chat.writes_tool_calls else ())),
    )
    return TransformersGenerator(manager, chat, loaded, folder, vocab=int(model.config.get_text_config().vocab_size))


def _require_packages() -> None:
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            raise EngineUnavailable(
                f"the transformers engine needs {package}: pip install -r gpu_miner/requirements-transformers.txt"
            )


def _load_model(folder: ModelFolder, dtype: object, device: str) -> Any:
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            str(folder.path), dtype=dtype, attn_implementation="paged|sdpa", local_files_only=True
        )
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise EngineUnavailable(f"transformers cannot load {folder.path}: {error}") from error
    return model.to(device).eval()


def _start_batching(model: Any, options: GeneratorOptions, cache: dict[str, object]) -> Any:
    from transformers import ContinuousBatchingConfig, GenerationConfig

    # Values off their defaults, because only what is on here can be set for each request.
    sampling = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_k=50,
        top_p=0.95,
        eos_token_id=-1,
        pad_token_id=0,
        max_new_tokens=options.max_output,
    )
    batching = ContinuousBatchingConfig(
        block_size=PAGE_TOKENS, max_requests_per_batch=options.slots, per_request_processors=True, **cache
    )
    manager = model.init_continuous_batching(sampling, batching)
    manager.start()
    return manager


def _best_device(torch: Any) -> str:
    if torch.cuda.is_available():
        return "cuda"
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator.type if accelerator is not None else "cpu"


def _cache(options: GeneratorOptions, device: str) -> tuple[dict[str, object], int]:
    """How large the paged cache is to be; 0 tokens when transformers is to measure the free memory of a GPU."""
    chunk = max(PAGE_TOKENS, options.chunk_size)
    wanted = options.cache_tokens
    if not wanted and device == "cpu":
        wanted = options.slots * min(options.max_context, CPU_TOKENS_PER_SLOT)
    if not wanted:
        return {"max_memory_percent": GPU_CACHE_SHARE * options.cache_share, "max_batch_tokens": chunk}, 0
    blocks = max(1, int(wanted * options.cache_share) // PAGE_TOKENS)
    return {"num_blocks": blocks, "max_batch_tokens": chunk}, blocks * PAGE_TOKENS


def _built_cache(manager: Any) -> int:
    """Tokens of the cache that transformers sized itself, known once its thread has built it."""
    until = monotonic() + CACHE_S
    while manager.batch_processor is None and manager.is_running() and monotonic() < until:
        sleep(0.05)
    if manager.batch_processor is None:
        fatal = manager.background_thread_status.fatal_error
        raise fatal or RuntimeError("transformers built no cache")
    cache = manager.batch_processor.cache
    return int(cache.num_blocks) * int(cache.block_size)
