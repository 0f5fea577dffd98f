"""Makes rows of knowledge for tests of any app."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from accounts.models import Business
from accounts.tenancy import business_scope
from knowledge import services, training
from knowledge.models import Chunk, CuratedAnswer, Document, Source, TrainingJob


def add_source(business: Business, **fields: Any) -> Source:
    """A source that waits for a training."""
    with business_scope(business.pk):
        source = Source(business_id=business.pk, **{"kind": "url", "title": "A source", **fields})
        return services.add_source(source=source, requested_by="test", now=timezone.now(), train=False)


def add_file(business: Business, name: str, content: bytes, **fields: Any) -> Source:
    with business_scope(business.pk):
        return services.add_file(
            business_id=business.pk,
            name=name,
            content=content,
            requested_by="test",
            now=timezone.now(),
            **{"bot_id": None, **fields},
        )


def queue(business: Business, *sources: Source) -> TrainingJob:
    """A job for these sources, or for all that wait."""
    with business_scope(business.pk):
        if sources:
            services.train_again(chosen=sources, requested_by="test", now=timezone.now())
        else:
            services.queue_training(business_id=business.pk, bot_id=None, requested_by="test", now=timezone.now())
        return TrainingJob.objects.live().exclude(kind="cleanup").get()


def train(business: Business, *sources: Source) -> TrainingJob:
    """What the worker does, until the job is over."""
    with business_scope(business.pk):
        job = TrainingJob.objects.live().exclude(kind="cleanup").first()
    job = job or queue(business, *sources)
    training.train(business_id=business.pk, job_id=job.pk)
    with business_scope(business.pk):
        job.refresh_from_db()
    return job


def fresh(business: Business, source: Source) -> Source:
    with business_scope(business.pk):
        source.refresh_from_db()
    return source


def documents(business: Business) -> dict[str, Document]:
    with business_scope(business.pk):
        return {document.key: document for document in Document.objects.all()}


def chunks(business: Business) -> list[Chunk]:
    with business_scope(business.pk):
        return list(Chunk.objects.select_related("document", "section").order_by("document_id", "position"))


def add_answer(business: Business, question: str, answer: str) -> CuratedAnswer:
    with business_scope(business.pk):
        return services.add_curated_answer(
            business_id=business.pk, bot_id=None, question=question, answer=answer, now=timezone.now()
        )
