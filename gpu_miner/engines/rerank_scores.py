"""Scores on their way: read from a server's `/rerank`, written as the platform wants them."""

import json
import math

from gpu_miner.errors import EngineError
from gpu_miner.protocol import JsonObject, as_int, as_list, as_object


def scored(body: JsonObject, count: int) -> str:
    """`{"scores": [number, …]}` in the order of the passages; raises EngineError where the server sent other things."""
    found: dict[int, float] = {}
    for item in (as_object(raw) for raw in as_list(body.get("results"))):
        score = item.get("relevance_score", item.get("score"))
        if isinstance(score, int | float) and math.isfinite(score):
            found[as_int(item.get("index"), -1)] = float(score)
    if sorted(found) != list(range(count)):
        raise EngineError("engine_garbage", "the server did not send one score per passage", retryable=True)
    return json.dumps({"scores": [found[place] for place in range(count)]})
