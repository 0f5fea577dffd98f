"""python -m gpu_miner bench: measures this machine and keeps the result for the platform."""

import sys
from collections.abc import Mapping, Sequence

from gpu_miner.benchmark import BenchCache, bench_key, measure
from gpu_miner.config import load_settings
from gpu_miner.engines import create_engine
from gpu_miner.hardware import find_gpus
from gpu_miner.logs import set_up_logging
from gpu_miner.model_choice import with_model
from gpu_miner.packages import require_packages

LINES = (
    ("one answer", "b1_tok_s", "tok/s"),
    ("all slots", "agg_tok_s", "tok/s"),
    ("slots", "agg_slots", ""),
    ("first words after", "ttft_ms", "ms"),
    ("the same prompt again", "cached_ttft_ms", "ms"),
)


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    settings = load_settings(arguments, environ, platform_needed=False)
    set_up_logging(settings)
    require_packages(settings.engine)
    gpus = find_gpus()
    settings = with_model(settings, gpus, environ)
    engine = create_engine(settings)
    try:
        models = engine.models()
        sys.stdout.write(f"{settings.engine}, {', '.join(model['id'] for model in models)}\n")
        result = measure(engine)
    finally:
        engine.close()
    BenchCache(settings.state_dir).put(bench_key(settings, models, gpus), result)
    for label, name, unit in LINES:
        sys.stdout.write(f"{label:<22}{result[name]:>10,.1f} {unit}".rstrip() + "\n")
    sys.stdout.write("kept; the platform is told at the next start\n")
    return 0
