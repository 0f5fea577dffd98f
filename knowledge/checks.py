"""System checks of knowledge: an embedder that can work, and no fake in production.

knowledge.E001 the scripted embedder · E002 an endpoint without its settings · E003 a local model without its files ·
I001 no model at all
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Info, Tags, register

from knowledge.embeddings.base import MAX_DIMENSIONS
from knowledge.embeddings.registry import local_embedder

PACKAGES = ("onnxruntime", "tokenizers")


def register_checks() -> None:
    register(check_embedder, Tags.security)


def check_embedder(app_configs: Sequence[AppConfig] | None, **_options: object) -> list[CheckMessage]:
    provider = str(settings.EMBEDDING_PROVIDER)
    if provider == "scripted":
        return _scripted()
    if provider == "openai":
        return _endpoint()
    if provider == "local" or (provider == "network" and settings.EMBEDDING_MODEL_DIR):
        return _local()
    hint = "docs/retrieval.md says what a model of meaning brings, and how to set one up."
    return [Info("EMBEDDING_PROVIDER=hashed finds shared words, not meaning.", hint=hint, id="knowledge.I001")]


def _scripted() -> list[CheckMessage]:
    if settings.APP_ENV != "production":
        return []
    hint = "Set EMBEDDING_PROVIDER to hashed, openai, local or network."
    return [Error("The embedder is a fake that tests use.", hint=hint, id="knowledge.E001")]


def _endpoint() -> list[CheckMessage]:
    if settings.EMBEDDING_URL and settings.EMBEDDING_MODEL and 1 <= settings.EMBEDDING_DIMENSIONS <= MAX_DIMENSIONS:
        return []
    hint = "Set EMBEDDING_URL, EMBEDDING_MODEL and EMBEDDING_DIMENSIONS."
    return [Error("The embedding endpoint is not fully described.", hint=hint, id="knowledge.E002")]


def _local() -> list[CheckMessage]:
    lacking = [*local_embedder().missing_files(), *(name for name in PACKAGES if find_spec(name) is None)]
    if not lacking:
        return []
    hint = "pip install -r requirements-embeddings.txt, and point EMBEDDING_MODEL_DIR at the model's folder."
    return [Error(f"The local embedding model lacks {', '.join(lacking)}.", hint=hint, id="knowledge.E003")]
