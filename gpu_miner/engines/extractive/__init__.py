"""An engine without weights: it answers by quoting the best sentences of the job's own facts, and says so."""

from gpu_miner.engines.extractive.engine import ExtractiveEngine

__all__ = ["ExtractiveEngine"]
