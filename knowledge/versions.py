"""Versions of a business's vectors: one is searched, another may be growing beside it until it takes over."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.db import IntegrityError, transaction

from accounts.tenancy import business_scope, platform_scope
from knowledge import ann
from knowledge.choices import VersionState
from knowledge.databases import alias
from knowledge.embeddings import EmbeddingModel, default_embedder
from knowledge.limits import CHUNKER_VERSION
from knowledge.models import Chunk, Embedding, EmbeddingVersion

KEPT: Final = timedelta(minutes=10)


def model_of(version: EmbeddingVersion) -> EmbeddingModel:
    return EmbeddingModel(
        provider=version.provider,
        name=version.model,
        version=version.version,
        dimensions=version.dimensions,
        query_prefix=version.query_prefix,
        passage_prefix=version.prefix,
    )


def open_versions(*, business_id: int, now: datetime) -> list[EmbeddingVersion]:
    """The versions that a new chunk must be in: the one in use, and one that the settings now ask for instead.

    A business that has none gets one, in use at once. Runs in a scope of its own.
    """
    with business_scope(business_id):
        versions = EmbeddingVersion.objects.for_business(business_id)
        live = list(versions.filter(state__in=[VersionState.ACTIVE, VersionState.TRAINING]))
        wanted = default_embedder().model
        if not any(model_of(version) == wanted and version.chunker_version == CHUNKER_VERSION for version in live):
            state = VersionState.TRAINING if live else VersionState.ACTIVE
            live.append(_make(business_id, wanted, state, now))
    return live


def _make(business_id: int, model: EmbeddingModel, state: VersionState, now: datetime) -> EmbeddingVersion:
    """The version of this model, made now or met again; two trainings may want it at the same moment."""
    identity = {
        "business_id": business_id,
        "provider": model.provider,
        "model": model.name,
        "version": model.version,
        "dimensions": model.dimensions,
        "prefix": model.passage_prefix,
        "chunker_version": CHUNKER_VERSION,
    }
    news = {
        "state": state,
        "query_prefix": model.query_prefix,
        "activated_at": now if state == VersionState.ACTIVE else None,
    }
    try:
        with transaction.atomic(using=alias()):
            made: tuple[EmbeddingVersion, bool] = EmbeddingVersion.objects.update_or_create(
                **identity, defaults=news, create_defaults={**news, **identity, "created_at": now}
            )
    except IntegrityError:
        met: EmbeddingVersion = EmbeddingVersion.objects.get(**identity)
        return met
    return made[0]


def missing_chunks(*, version: EmbeddingVersion, limit: int) -> list[int]:
    """Chunks without a vector in this version, oldest first."""
    embedded = Embedding.objects.filter(embedding_version=version).values("chunk_id")
    chunks = Chunk.objects.for_business(version.business_id).exclude(pk__in=embedded)
    return list(chunks.order_by("pk").values_list("pk", flat=True)[:limit])


def switch(*, version: EmbeddingVersion, now: datetime) -> None:
    """Searches this version from now on; the one before is kept until `drop_replaced`."""
    with business_scope(version.business_id):
        versions = EmbeddingVersion.objects.for_business(version.business_id)
        versions.filter(state=VersionState.ACTIVE).exclude(pk=version.pk).update(state=VersionState.DEPRECATED)
        versions.filter(pk=version.pk).update(state=VersionState.ACTIVE, activated_at=now)


def drop_all_replaced(*, now: datetime) -> int:
    """A duty of the dispatcher."""
    with platform_scope():
        replaced = EmbeddingVersion.objects.filter(state=VersionState.DEPRECATED, activated_at__lt=now - KEPT)
        businesses = list(replaced.values_list("business_id", flat=True).distinct())
    return sum(drop_replaced(business_id=business_id) for business_id in businesses)


def drop_replaced(*, business_id: int) -> int:
    """Removes the vectors of versions that are no longer searched; how many versions those were.

    Not at the moment of the switch: a process remembers for some seconds which version it searches.
    """
    with business_scope(business_id):
        replaced = list(EmbeddingVersion.objects.for_business(business_id).filter(state=VersionState.DEPRECATED))
        for version in replaced:
            version.delete()
    for version in replaced:
        ann.drop_index(version)
    return len(replaced)
