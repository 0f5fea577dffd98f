"""The models a miner knows by name, and which is the largest that fits into a GPU's memory."""

import re
from dataclasses import dataclass

from gpu_miner.errors import ConfigError

# OWNER/REPOSITORY, with @REVISION where it is not the main branch; neither can leave the models' folder.
HUB_NAME = re.compile(r"(?P<repository>[\w-][\w.-]*/[\w-][\w.-]*)(?:@(?P<revision>[\w-][\w.-]*))?")
GIBIBYTE = 1024**3


@dataclass(frozen=True)
class Model:
    """A model on the hub: where it is, what it needs, what engine reads it."""

    name: str
    repository: str
    revision: str = "main"
    backend: str = ""
    quant: str = ""
    vram_mb: int = 0
    disk_gb: float = 0.0

    @property
    def folder(self) -> str:
        return f"{self.repository.replace('/', '--')}@{self.revision}"


# VRAM: weights, a cache for eight conversations of 2,048 tokens, and the scratch memory of a CUDA process.
CATALOGUE = (
    Model("qwen2.5-7b-instruct", "turboderp/Qwen2.5-7B-Instruct-exl2", "4.0bpw", "exllamav2", "4.0 bpw", 7_600, 4.9),
    Model(
        "qwen2.5-7b-instruct-6bit", "turboderp/Qwen2.5-7B-Instruct-exl2", "6.0bpw", "exllamav2", "6.0 bpw", 9_600, 6.5
    ),
    Model("qwen2.5-14b-instruct", "bartowski/Qwen2.5-14B-Instruct-exl2", "4_25", "exllamav2", "4.25 bpw", 11_600, 9.2),
    Model(
        "qwen2.5-14b-instruct-6bit", "bartowski/Qwen2.5-14B-Instruct-exl2", "6_5", "exllamav2", "6.5 bpw", 16_000, 12.9
    ),
    Model("qwen2.5-32b-instruct", "bartowski/Qwen2.5-32B-Instruct-exl2", "4_25", "exllamav2", "4.25 bpw", 23_000, 19.0),
    Model("qwen2.5-72b-instruct", "bartowski/Qwen2.5-72B-Instruct-exl2", "4_25", "exllamav2", "4.25 bpw", 46_000, 41.0),
    Model("qwen2.5-0.5b-instruct-fp16", "Qwen/Qwen2.5-0.5B-Instruct", "main", "transformers", "fp16", 2_000, 1.1),
    Model("qwen2.5-7b-instruct-fp16", "Qwen/Qwen2.5-7B-Instruct", "main", "transformers", "fp16", 18_000, 15.3),
)


def largest_that_fits(vram_mb: int, backend: str) -> Model:
    """The last of the catalogue, which is ordered by size, that this engine reads and the memory holds."""
    fitting = [model for model in CATALOGUE if model.backend == backend and model.vram_mb <= vram_mb]
    if not fitting:
        raise ConfigError(
            f"no model of the catalogue for --engine {backend} fits into {vram_mb / 1024:.0f} GB of GPU memory; "
            "name one with --model (a folder, or OWNER/REPOSITORY@REVISION)"
        )
    return fitting[-1]


def named(name: str) -> Model | None:
    """A model by its name in the catalogue, or by its place on the hub; None for a text that is neither."""
    for model in CATALOGUE:
        if name.lower() == model.name:
            return model
    found = HUB_NAME.fullmatch(name)
    if found is None or ".." in name:
        return None
    repository, revision = found["repository"], found["revision"] or "main"
    known = (model for model in CATALOGUE if (model.repository, model.revision) == (repository, revision))
    return next(known, Model(repository.rpartition("/")[2], repository, revision))


def listing() -> str:
    """The catalogue as a table for people."""
    rows = [("name", "engine", "quantization", "GPU memory", "disk")]
    rows += [
        (model.name, model.backend, model.quant, f"{model.vram_mb / 1024:.0f} GB", f"{model.disk_gb:.0f} GB")
        for model in CATALOGUE
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
