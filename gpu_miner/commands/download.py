"""python -m gpu_miner download: brings a model here before the first start, or lists what there is."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace

from gpu_miner.catalogue import listing
from gpu_miner.config import MODEL_ENGINES, parser, read_settings
from gpu_miner.hardware import find_gpus
from gpu_miner.logs import set_up_logging
from gpu_miner.model_choice import chosen, with_model


def main(arguments: Sequence[str], environ: Mapping[str, str]) -> int:
    made = parser("download")
    made.add_argument("wanted", nargs="?", metavar="MODEL", help="as --model has it (the largest that fits)")
    made.add_argument("--list", action="store_true", help="show the catalogue and end")
    asked = made.parse_args(arguments)
    if asked.list:
        sys.stdout.write(f"{listing()}\n")
        return 0
    if asked.wanted:
        asked.model = asked.wanted
        asked.engine = asked.engine or "exllamav2"
    settings = read_settings(asked, environ, platform_needed=False)
    set_up_logging(settings)
    if settings.engine not in MODEL_ENGINES:
        settings = replace(settings, engine="exllamav2")
    gpus = find_gpus()
    model = chosen(settings, gpus)
    there = with_model(settings, gpus, environ)
    sys.stdout.write(f"{model.name} is in {there.model}\n{there.model_digest}\n")
    return 0
