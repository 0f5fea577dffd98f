"""Removes what is left of deleted sources and of departed businesses: files, vectors, words in the index."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta
from typing import Any, Final

from django.apps import apps
from django.db import models

from accounts.models import Business
from accounts.tenancy import business_scope, platform_scope
from knowledge import indexing, storage
from knowledge.choices import TrainingStage, TrainingStatus
from knowledge.models import ForgottenFile, Source, TrainingJob
from knowledge.storing import remove_rows

logger = logging.getLogger(__name__)

FILES_AT_ONCE: Final = 200
TRAININGS_KEPT: Final = timedelta(days=90)


def clean_up(*, business_id: int, job_id: str, now: datetime) -> None:
    """The second half of a deletion: the rows are gone already. Idempotent."""
    with business_scope(business_id):
        job = TrainingJob.objects.for_business(business_id).live().filter(pk=job_id, kind="cleanup").first()
    if job is None:
        return
    left = forget_files(business_id=business_id)
    indexing.finish_training(business_id=business_id, now=now)
    with business_scope(business_id):
        if left:
            reason = f"{left} files could not be removed yet; this is tried again."
            TrainingJob.objects.filter(pk=job_id).update(error=reason)
        else:
            TrainingJob.objects.filter(pk=job_id).update(
                status=TrainingStatus.CLEANED_UP, stage=TrainingStage.DONE, finished_at=now, error=""
            )


def forget_files(*, business_id: int) -> int:
    """Removes the bytes of deleted files; how many could not be, and will be tried again."""
    with business_scope(business_id):
        files = list(ForgottenFile.objects.for_business(business_id)[:FILES_AT_ONCE])
    left = 0
    for file in files:
        try:
            storage.files().delete(file.storage_key)
        except storage.ERRORS as error:
            logger.warning("A file of business %s could not be removed: %s", business_id, type(error).__name__)
            left += 1
            continue
        with business_scope(business_id):
            remove_rows(ForgottenFile.objects.filter(pk=file.pk))
    return left


def forget_business(*, business_id: int) -> None:
    """Everything that a business taught and was asked. For one that is deleted; its files go with the next clean-up."""
    with business_scope(business_id):
        for key in Source.objects.filter(file__isnull=False).values_list("file__storage_key", flat=True):
            ForgottenFile.objects.create(business_id=business_id, storage_key=key)
        for model in own_tables():
            if model is not ForgottenFile:
                remove_rows(model._default_manager.filter(business_id=business_id))
    forget_files(business_id=business_id)


def forget_bot(*, business_id: int, bot_id: int) -> None:
    """Every other row that is about one bot, but for the jobs, which are a record of what was done."""
    for model in own_tables():
        if model is not TrainingJob and any(field.name == "bot_id" for field in model._meta.fields):
            remove_rows(model._default_manager.filter(business_id=business_id, bot_id=bot_id))


def forget_old_trainings(*, now: datetime) -> None:
    remove_rows(TrainingJob.objects.filter(finished_at__lt=now - TRAININGS_KEPT))


def departed_businesses() -> list[int]:
    """Ids that rows here name and that are no business any more; no foreign key could tell across two databases."""
    with platform_scope():
        named: set[int] = set()
        for model in own_tables():
            named |= set(model._default_manager.order_by().values_list("business_id", flat=True).distinct())
        present = set(Business.objects.filter(pk__in=named).values_list("pk", flat=True))
    return sorted(named - present)


def own_tables() -> list[type[models.Model]]:
    tables: list[type[Any]] = list(apps.get_app_config("knowledge").get_models())
    return tables
