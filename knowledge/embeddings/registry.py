"""Which embedder runs: chosen by EMBEDDING_PROVIDER, and by what a stored version was made with."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from django.conf import settings

from knowledge.embeddings.base import Embedder, EmbeddingModel
from knowledge.embeddings.hashed import HashedEmbedder
from knowledge.embeddings.local import LocalEmbedder
from knowledge.embeddings.network import NetworkEmbedder
from knowledge.embeddings.openai import OpenAIEmbedder
from knowledge.embeddings.scripted import ScriptedEmbedder
from knowledge.errors import EmbeddingUnavailable

PROVIDERS: Final = frozenset({"hashed", "openai", "local", "network", "scripted"})


def default_embedder() -> Embedder:
    """The one that new vectors are made with."""
    return embedder_named(str(settings.EMBEDDING_PROVIDER))


def embedder_for(model: EmbeddingModel) -> Embedder:
    """The one that makes vectors comparable with `model`'s; raises EmbeddingUnavailable when none is set up."""
    for embedder in (default_embedder(), embedder_named("hashed")):
        if embedder.model == model:
            return embedder
    raise EmbeddingUnavailable(f"No embedder is set up for {model.provider} {model.name} {model.version}.")


def is_set_up(model: EmbeddingModel) -> bool:
    return model in {default_embedder().model, embedder_named("hashed").model}


@cache
def embedder_named(provider: str) -> Embedder:
    if provider == "openai":
        return OpenAIEmbedder(configured_model("openai"), str(settings.EMBEDDING_URL), str(settings.EMBEDDING_API_KEY))
    if provider == "local":
        return local_embedder()
    if provider == "network":
        return NetworkEmbedder(local_embedder() if settings.EMBEDDING_MODEL_DIR else HashedEmbedder())
    if provider == "scripted":
        return ScriptedEmbedder()
    return HashedEmbedder()


def local_embedder() -> LocalEmbedder:
    return LocalEmbedder(
        configured_model("local"), Path(settings.EMBEDDING_MODEL_DIR), threads=int(settings.EMBEDDING_THREADS)
    )


def configured_model(provider: str) -> EmbeddingModel:
    """What EMBEDDING_MODEL and its companions say."""
    return EmbeddingModel(
        provider=provider,
        name=str(settings.EMBEDDING_MODEL),
        version=str(settings.EMBEDDING_MODEL_VERSION),
        dimensions=int(settings.EMBEDDING_DIMENSIONS),
        query_prefix=_prefix(settings.EMBEDDING_QUERY_PREFIX),
        passage_prefix=_prefix(settings.EMBEDDING_PASSAGE_PREFIX),
    )


def _prefix(word: str) -> str:
    return f"{word} " if word else ""
