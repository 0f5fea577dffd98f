"""Position settings as ExLlamaV2 reads them.

transformers 5 writes `rope_parameters`, and no `rope_theta` beside it. ExLlamaV2 knows only the old names and falls
back to 10,000 without a word: the model then answers, and answers worse the longer it reads.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from gpu_miner.errors import EngineUnavailable
from gpu_miner.protocol import JsonObject, as_object, as_text

# The kinds of scaling that ExLlamaV2 0.3.2 acts on; any other name it would pass over in silence.
KNOWN_SCALINGS = frozenset({"linear", "su", "longrope", "yarn", "llama3", "mrope"})
OUTER_NAMES = ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings")


def with_old_names(config: Mapping[str, object]) -> JsonObject:
    """The config with the old names added; raises EngineUnavailable for positions ExLlamaV2 cannot compute."""
    old: JsonObject = dict(config)
    if "text_config" in old:
        old["text_config"] = with_old_names(as_object(old["text_config"]))
    parameters = as_object(old.get("rope_parameters"))
    layers = as_object(parameters.get("full_attention"))
    if layers:
        _check_sliding(as_object(parameters.get("sliding_attention")))
        parameters = layers
    if parameters:
        _write_old(old, parameters)
    kind = _kind(as_object(old.get("rope_scaling")))
    if kind not in KNOWN_SCALINGS | {"", "default"}:
        raise EngineUnavailable(f"ExLlamaV2 cannot compute “{kind}” positions; use the exllamav3 engine for this model")
    return old


def _write_old(old: JsonObject, parameters: JsonObject) -> None:
    theta = parameters.get("rope_theta")
    if not isinstance(theta, int | float) or isinstance(theta, bool) or theta <= 0:
        raise EngineUnavailable("the model's config.json has rope_parameters without a rope_theta")
    for name in OUTER_NAMES:
        if name in parameters:
            old.setdefault(name, parameters[name])
    old["rope_theta"] = float(theta)
    if _kind(parameters) not in ("", "default"):
        old["rope_scaling"] = {name: value for name, value in parameters.items() if name != "rope_theta"}


def _check_sliding(parameters: JsonObject) -> None:
    """ExLlamaV2 has the value of these layers built in."""
    if parameters and parameters.get("rope_theta") not in (10_000, 10_000.0):
        raise EngineUnavailable("ExLlamaV2 cannot compute this model's sliding attention; use the exllamav3 engine")


def _kind(scaling: JsonObject) -> str:
    return as_text(scaling.get("rope_type")) or as_text(scaling.get("type"))


def folder_with_old_names(source: Path, target: Path) -> Path:
    """A folder of links to the model's files beside a config.json that ExLlamaV2 reads rightly."""
    config = json.loads((source / "config.json").read_text(encoding="utf-8"))
    for path in source.iterdir():
        if path.name != "config.json":
            (target / path.name).symlink_to(path.resolve())
    (target / "config.json").write_text(json.dumps(with_old_names(config)), encoding="utf-8")
    return target
