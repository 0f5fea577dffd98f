"""Which runtimes this machine has, and the tiny model they are tried with."""

import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from gpu_miner.engines.batched.generator import GeneratorOptions
from gpu_miner.tests.engines.batched.tiny_model import make_tiny_model

# Matrices this small are slower on many threads, which then wait for each other; engine processes inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

HOW = "pip install -r gpu_miner/requirements-transformers.txt"
HAS_TORCH = find_spec("torch") is not None and find_spec("transformers") is not None
needs_transformers = pytest.mark.skipif(not HAS_TORCH, reason=f"torch and transformers are not installed: {HOW}")


@cache
def has_cuda() -> bool:
    """Asked of the driver, not of torch, which takes seconds to import."""
    return Path("/proc/driver/nvidia/version").exists()


def needs_cuda(package: str) -> Any:
    there = HAS_TORCH and find_spec(package) is not None and has_cuda()
    return pytest.mark.skipif(not there, reason=f"{package} runs on an NVIDIA GPU with CUDA only")


def tiny_options(kind: str, folder: Path, **changes: Any) -> GeneratorOptions:
    """Greedy, on the smallest device, with the answers of a model that never ends by itself kept short."""
    if not (folder / "config.json").exists():
        make_tiny_model(folder)
    device = "cpu" if kind == "transformers" else ""
    given = {"model": str(folder), "slots": 3, "max_context": 2048, "max_output": 24, "device": device}
    return GeneratorOptions(kind, **{**given, "cache_tokens": 3 * 2048, "chunk_size": 256, **changes})
