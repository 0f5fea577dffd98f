"""The speed that memory bandwidth and arithmetic allow: no step can be faster than reading the weights once."""

from dataclasses import dataclass

from benchmarks.gpu.synthesise import Shape

# Bytes and half-precision operations a second, from NVIDIA's data sheets.
CARDS = {
    "H200": (4.8e12, 989e12),
    "H100": (3.35e12, 989e12),
    "A100": (2.0e12, 312e12),
    "4090": (1.008e12, 165e12),
    "3090": (0.936e12, 71e12),
}
BITS = {"fp16": 16.0, "gptq": 4 + 20 / 128, "exl2": 4.0, "exl3": 4.0}


@dataclass(frozen=True)
class Card:
    """What a GPU can move and compute."""

    bytes_per_s: float
    operations_per_s: float


def card_named(name: str) -> Card | None:
    found = next((figures for short, figures in CARDS.items() if short in name), None)
    return Card(*found) if found else None


def tokens_per_s(card: Card, shape: Shape, form: str, batch: int, context: int) -> float:
    """Weights are read once a step for the whole batch, keys and values once for each job."""
    linear = sum(inputs * outputs for _, inputs, outputs, _ in shape.linears()) * shape.layers
    head = shape.vocab * shape.hidden
    # The output layer of the made weights is fp16 in every format.
    weights = linear * BITS[form] / 8 + head * 2
    cache = 2 * shape.layers * shape.kv * 2 * context * batch
    seconds = max((weights + cache) / card.bytes_per_s, 2 * (linear + head) * batch / card.operations_per_s)
    return batch / seconds
