"""Two rankings made one, and how much evidence there is in the best of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from knowledge.choices import Fusion

RRF_K: Final = 60
LEXICAL_WEIGHT: Final = 1.0
HEADING_WEIGHT: Final = 0.6
"""Of a heading that says the very question, beside coming first by words."""

DENSE_WEIGHTS: Final[Mapping[str, float]] = {"hashed": 0.35}
"""Of a provider's ranking beside the lexical one; what knows no meaning counts for less (docs/retrieval.md)."""

DEFAULT_DENSE_WEIGHT: Final = 1.0
DEFAULT_THRESHOLDS: Final[Mapping[str, float]] = {"hashed": 0.42}
"""Until a business is calibrated."""

DEFAULT_THRESHOLD: Final = 0.5
# Where a provider's similarities start to mean something, and where they are as good as certain.
SIMILARITY_RANGES: Final[Mapping[str, tuple[float, float]]] = {"hashed": (0.08, 0.45), "local": (0.78, 0.92)}
DEFAULT_SIMILARITY_RANGE: Final = (0.2, 0.7)
COVERAGE_SHARES: Final[Mapping[str, float]] = {"hashed": 0.75}
DEFAULT_COVERAGE_SHARE: Final = 0.35


def fuse(
    *,
    dense: Mapping[int, float],
    lexical: Mapping[int, float],
    headings: Mapping[int, float],
    fusion: Fusion,
    provider: str,
) -> list[tuple[int, float]]:
    """Chunks by falling fused score; `dense` and `lexical` are scores, the higher the better.

    `headings` says how nearly the heading of each says what was asked, from 0 to 1.
    """
    weigh = _reciprocal_ranks if fusion == Fusion.RRF else _between_extremes
    fused: dict[int, float] = {}
    for scores, weight in ((lexical, LEXICAL_WEIGHT), (dense, DENSE_WEIGHTS.get(provider, DEFAULT_DENSE_WEIGHT))):
        for chunk_id, share in weigh(scores).items():
            fused[chunk_id] = fused.get(chunk_id, 0.0) + weight * share
    best = LEXICAL_WEIGHT / (RRF_K + 1) if fusion == Fusion.RRF else LEXICAL_WEIGHT
    for chunk_id in fused:
        fused[chunk_id] += HEADING_WEIGHT * best * headings.get(chunk_id, 0.0)
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))


def evidence(*, coverage: float, similarity: float, provider: str) -> float:
    """From 0 to 1: the share of the question's words that a chunk holds, and how near it is."""
    low, high = SIMILARITY_RANGES.get(provider, DEFAULT_SIMILARITY_RANGE)
    nearness = min(max((similarity - low) / (high - low), 0.0), 1.0)
    share = COVERAGE_SHARES.get(provider, DEFAULT_COVERAGE_SHARE)
    return share * min(coverage, 1.0) + (1 - share) * nearness


def default_threshold(provider: str) -> float:
    return DEFAULT_THRESHOLDS.get(provider, DEFAULT_THRESHOLD)


def _reciprocal_ranks(scores: Mapping[int, float]) -> dict[int, float]:
    return {chunk_id: 1.0 / (RRF_K + rank) for rank, chunk_id in enumerate(_by_score(scores), start=1)}


def _between_extremes(scores: Mapping[int, float]) -> dict[int, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    return {chunk_id: (score - low) / (high - low) if high > low else 1.0 for chunk_id, score in scores.items()}


def _by_score(scores: Mapping[int, float]) -> Sequence[int]:
    return sorted(scores, key=lambda chunk_id: (-scores[chunk_id], chunk_id))
