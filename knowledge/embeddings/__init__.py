"""The embeddings port: texts become vectors, by whichever provider the settings name."""

from knowledge.embeddings.base import Batch, Embedder, EmbeddingModel, Vectors
from knowledge.embeddings.registry import default_embedder, embedder_for, is_set_up

__all__ = ["Batch", "Embedder", "EmbeddingModel", "Vectors", "default_embedder", "embedder_for", "is_set_up"]
