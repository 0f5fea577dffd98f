"""How fast this machine writes: alone, with every slot taken, and when it has read the prompt before."""

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from time import monotonic

from gpu_miner import VERSION
from gpu_miner.config import Settings
from gpu_miner.engines.base import Collector, Engine, EngineJob
from gpu_miner.protocol import GpuCard, ModelCard, as_object

ALONE_TOKENS = 128
FULL_TOKENS = 64
WARM_UP_TOKENS = 8
FACTS = " ".join(
    f"Article {number} costs {number * 3} francs and is on shelf {number % 17}." for number in range(1, 40)
)
QUESTION = "What does article 7 cost? Answer at length, and go on to every other article with its price and its shelf."


@dataclass(frozen=True)
class Trial:
    """One answer, written for nobody."""

    text: str
    tokens: int
    first_s: float
    total_s: float

    @property
    def tokens_per_s(self) -> float:
        """Of the writing alone, without the reading; whole when everything came at once."""
        writing_s = self.total_s - self.first_s
        return (self.tokens - 1) / writing_s if writing_s > 0.001 and self.tokens > 1 else self.tokens / self.total_s


def try_out(engine: Engine, name: str, max_tokens: int) -> Trial:
    """Write one answer; prompts of different names share no beginning. Raises EngineError."""
    job = EngineJob(
        job_id=f"trial-{name}",
        messages=(
            {"role": "system", "content": f"You are {name}, a shop's assistant.\n<facts>\n{FACTS}\n</facts>"},
            {"role": "user", "content": QUESTION},
        ),
        params={"max_tokens": max_tokens, "temperature": 0.0},
    )
    stream, started = Collector(), monotonic()
    finish = engine.run(job, stream)
    total = max(monotonic() - started, 1e-6)
    first = (stream.first_at or started + total) - started
    counted = finish.usage.completion_tokens if finish.usage else 0
    return Trial(stream.text, counted or stream.tokens, first, total)


def measure(engine: Engine) -> dict[str, float]:
    """Tokens per second of one answer and of a full house, and the milliseconds until the first words."""
    try_out(engine, "Warm-up", WARM_UP_TOKENS)
    alone = try_out(engine, "Ada", ALONE_TOKENS)
    again = try_out(engine, "Ada", WARM_UP_TOKENS)
    started = monotonic()
    with ThreadPoolExecutor(engine.slots) as pool:
        full = list(pool.map(lambda number: try_out(engine, f"Bo {number}", FULL_TOKENS), range(engine.slots)))
    full_s = max(monotonic() - started, 1e-6)
    return {
        "b1_tok_s": round(alone.tokens_per_s, 1),
        "agg_tok_s": round(sum(trial.tokens for trial in full) / full_s, 1),
        "agg_slots": float(engine.slots),
        "ttft_ms": round(alone.first_s * 1000, 1),
        "cached_ttft_ms": round(again.first_s * 1000, 1),
    }


class BenchCache:
    """Results by what they depend on, in the state folder."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "bench.json"

    def get(self, key: str) -> dict[str, float]:
        found = as_object(self._read().get(key))
        return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}

    def put(self, key: str, result: dict[str, float]) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self._path.with_suffix(".new")
        draft.write_text(json.dumps({**self._read(), key: result}, indent=1), encoding="utf-8")
        os.replace(draft, self._path)

    def _read(self) -> dict[str, object]:
        try:
            return as_object(json.loads(self._path.read_text(encoding="utf-8")))
        except (OSError, ValueError):
            return {}


def bench_key(settings: Settings, models: Iterable[ModelCard], gpus: Sequence[GpuCard]) -> str:
    """Equal for equal engine, models, GPUs, driver and number of slots; any change is another machine."""
    facts = [
        VERSION,
        settings.engine,
        settings.slots,
        settings.cache_mode,
        settings.openai_url,
        [(model["id"], model.get("digest", ""), model["quant"]) for model in models],
        [(gpu["name"], gpu.get("uuid_hash", ""), gpu.get("driver", "")) for gpu in gpus],
    ]
    return sha256(json.dumps(facts).encode()).hexdigest()[:16]
