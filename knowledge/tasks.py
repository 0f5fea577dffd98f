"""What workers do for knowledge: ids in, idempotent, one domain call."""

from __future__ import annotations

from django.utils import timezone

from accounts.tasks import long_tenant_task
from knowledge import cleaning, training


@long_tenant_task
def run_training(*, business_id: int, training_job_id: str) -> None:
    training.train(business_id=business_id, job_id=training_job_id)


@long_tenant_task
def clean_up(*, business_id: int, training_job_id: str) -> None:
    cleaning.clean_up(business_id=business_id, job_id=training_job_id, now=timezone.now())
