"""One runtime on one model at several batch sizes, bare or through a whole miner; a line of JSON for each.

usage: python -m benchmarks.gpu.measure bare|miner|generate ENGINE FOLDER [--batches 1 8 32 64]

bare      the generator in a loop: what the runtime itself can do
miner     a whole miner on a loopback platform: what is delivered of it
generate  transformers' own `generate` on the same prompts: what most people would start with
"""

import argparse
import json
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from gpu_miner.config import Settings
from gpu_miner.engines.batched.engine import BatchedEngine
from gpu_miner.engines.batched.generator import PAGE_TOKENS, Generator, GeneratorOptions, Prompt, Request
from gpu_miner.engines.batched.main import loader
from gpu_miner.engines.batched.sampling import Sampling
from gpu_miner.supervisor import Supervisor

# Low enough for every sampler to do its work, high enough that no answer repeats another.
TEMPERATURE, TOP_P, TOP_K = 0.8, 0.95, 50
RUNS = 3
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def options_of(engine: str, folder: Path, options: argparse.Namespace) -> GeneratorOptions:
    most = max(options.batches)
    room = -(-(options.prompt + options.answer + 64) // PAGE_TOKENS) * PAGE_TOKENS
    return GeneratorOptions(
        engine,
        model=str(folder),
        slots=most,
        max_context=8192,
        max_output=options.answer,
        cache_mode=options.cache_mode,
        cache_tokens=most * room,
        chunk_size=options.chunk,
        device=options.device,
    )


def random_prompt(length: int, vocab: int) -> list[int]:
    """Distinct from every other, so that no cached prefix helps."""
    return [random.randrange(300, vocab - 500) for _ in range(length)]


def run_bare(generator: Generator, batch: int, options: argparse.Namespace, vocab: int) -> dict[str, float]:
    """All at once: seconds until the last job had its first token, and until all were done."""
    sampling = Sampling(options.answer, temperature=TEMPERATURE, top_p=TOP_P, top_k=TOP_K)
    names = [f"{time.monotonic_ns()}-{number}" for number in range(batch)]
    requests = [Request(name, Prompt(random_prompt(options.prompt, vocab)), sampling) for name in names]
    started, firsts, tokens, running = time.perf_counter(), dict[str, float](), 0, set(names)
    for request in requests:
        generator.start(request)
    while running:
        for written in generator.step():
            assert not written.error, written.error
            firsts.setdefault(written.key, time.perf_counter() - started)
            tokens += written.tokens
            if written.ended:
                running.discard(written.key)
    return figures(batch, max(firsts.values()), time.perf_counter() - started, tokens)


def figures(batch: int, first_s: float, total_s: float, tokens: int) -> dict[str, float]:
    return {
        "batch": batch,
        "first_s": first_s,
        "total_s": total_s,
        "tokens": tokens,
        "tokens_per_s": tokens / total_s,
        "decode_tokens_per_s": (tokens - batch) / max(total_s - first_s, 1e-9),
    }


def measure_bare(engine: str, folder: Path, options: argparse.Namespace) -> None:
    import torch

    vocab = json.loads((folder / "config.json").read_text())["vocab_size"]
    generator = loader(engine)(options_of(engine, folder, options), lambda what, share: None)
    run_bare(generator, max(options.batches), options, vocab)
    for batch in options.batches:
        runs = [run_bare(generator, batch, options, vocab) for _ in range(RUNS)]
        middle = statistics.median_low(run["total_s"] for run in runs)
        best = next(run for run in runs if run["total_s"] == middle)
        report("bare", engine, folder, {**best, "vram_gb": torch.cuda.max_memory_allocated() / 1e9})
    generator.close()


def measure_generate(engine: str, folder: Path, options: argparse.Namespace) -> None:
    """`model.generate` with the same sampling, on a batch of prompts of equal length."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(folder), dtype=torch.float16, attn_implementation="sdpa")
    model = model.to(options.device).eval()

    def seconds(batch: int, length: int) -> float:
        prompts = [random_prompt(options.prompt, model.config.vocab_size) for _ in range(batch)]
        ids = torch.tensor(prompts, device=options.device)
        wait_for(torch)
        started = time.perf_counter()
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=length,
            min_new_tokens=length,
            do_sample=True,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            top_k=TOP_K,
            pad_token_id=0,
        )
        wait_for(torch)
        return time.perf_counter() - started

    for batch in options.batches:
        seconds(batch, 8)
        found = figures(batch, seconds(batch, 1), seconds(batch, options.answer), batch * options.answer)
        report("generate", engine, folder, {**found, "vram_gb": torch.cuda.max_memory_allocated() / 1e9})


def wait_for(torch: Any) -> None:
    """Until the GPU has done what it was given; a CPU has."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def measure_miner(engine: str, folder: Path, options: argparse.Namespace) -> None:
    """Two rounds of jobs queued at a platform on this machine; what it has acknowledged, over the time it took."""
    batched = BatchedEngine(options_of(engine, folder, options))
    batched.models()
    for batch in options.batches:
        report("miner", engine, folder, deliver(_Borrowed(batched, batch), batch, options) | {"batch": batch})
    batched.close()


def deliver(engine: Any, batch: int, options: argparse.Namespace) -> dict[str, float]:
    from gpu_miner.tests.fake_platform import FakePlatform

    platform = FakePlatform()
    platform.config |= {"flush_ms": 120, "heartbeat_ms": 5000, "poll_wait_ms": 25_000, "offer_ms": 5000}
    with tempfile.TemporaryDirectory() as state:
        settings = Settings(platform.url, "bench", slots=batch, state_dir=Path(state), bench=False)
        supervisor = Supervisor(settings, engine, find=list)
        supervisor.start()
        run_jobs(platform, supervisor, batch, options)
        found = run_jobs(platform, supervisor, batch * options.rounds, options)
        supervisor.drain()
        supervisor.wait(10)
    platform.close()
    return found


class _Borrowed:
    """The one loaded engine for one miner after the other, which must not close it."""

    def __init__(self, engine: BatchedEngine, slots: int) -> None:
        self._engine = engine
        self.slots = slots

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def close(self) -> None:
        """It goes to the next miner."""


def run_jobs(platform: Any, supervisor: Supervisor, count: int, options: argparse.Namespace) -> dict[str, float]:
    started = time.perf_counter()
    prompts = ["".join(random.choices(LETTERS, k=options.prompt)) for _ in range(count)]
    jobs = [platform.ask(prompt, params=params(options)) for prompt in prompts]
    while not all(job.result for job in jobs):
        assert not supervisor.wait(0.02), supervisor.failure
    seconds = time.perf_counter() - started
    failed = [job.result for job in jobs if job.result["status"] != "ok"]
    assert not failed, failed[0]
    tokens = sum(int(job.result["tokens_generated"]) for job in jobs)
    return {"tokens": tokens, "total_s": seconds, "tokens_per_s": tokens / seconds}


def params(options: argparse.Namespace) -> dict[str, object]:
    return {"max_tokens": options.answer, "temperature": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K}


def report(how: str, engine: str, folder: Path, found: dict[str, float]) -> None:
    print(json.dumps({"how": how, "engine": engine, "model": folder.name, **found}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("bare", "miner", "generate"))
    parser.add_argument("engine", choices=("exllamav2", "exllamav3", "transformers"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32, 64])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--answer", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--cache-mode", default="FP16")
    parser.add_argument("--device", default="cuda", help="cpu tries the script without measuring anything of use")
    options = parser.parse_args()
    {"bare": measure_bare, "miner": measure_miner, "generate": measure_generate}[options.how](
        options.engine, options.folder, options
    )


if __name__ == "__main__":
    main()
