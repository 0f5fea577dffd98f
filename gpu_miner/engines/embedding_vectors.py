"""Vectors on their way: read from an OpenAI-compatible server, packed for the platform in two bytes a number."""

import base64
import json
import struct

from gpu_miner.errors import EngineError
from gpu_miner.protocol import JsonObject, as_int, as_list, as_object

# The largest number that two bytes hold; vectors of length one stay far below it.
LARGEST = 65_504.0


def vectors_of(body: JsonObject, count: int) -> list[list[float]]:
    """One vector per text, in the order of the texts; raises EngineError for anything else."""
    found: dict[int, list[float]] = {}
    for place, item in enumerate(as_object(raw) for raw in as_list(body.get("data"))):
        numbers = as_list(item.get("embedding"))
        if not numbers or not all(isinstance(number, int | float) for number in numbers):
            raise EngineError("engine_garbage", "the server sent something that is no vector", retryable=True)
        found[as_int(item.get("index"), place)] = [
            float(number) for number in numbers if isinstance(number, int | float)
        ]
    if sorted(found) != list(range(count)) or len({len(vector) for vector in found.values()}) > 1:
        raise EngineError("engine_garbage", "the server did not send one vector per text", retryable=True)
    return [found[place] for place in range(count)]


def packed(vectors: list[list[float]]) -> str:
    """`{"dimensions": n, "vectors": base64 of little-endian float16}`."""
    width = len(vectors[0]) if vectors else 0
    numbers = [max(-LARGEST, min(LARGEST, number)) for vector in vectors for number in vector]
    raw = struct.pack(f"<{len(numbers)}e", *numbers)
    return json.dumps({"dimensions": width, "vectors": base64.b64encode(raw).decode()})
