"""What knowledge does when the network ends a job, in the same transaction."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from knowledge import drafting
from miners.choices import JobKind
from miners.models import Job
from miners.signals import job_finished


def connect() -> None:
    job_finished.connect(on_job_finished, dispatch_uid="knowledge.on_job_finished")


def on_job_finished(sender: object, *, job: Job, now: datetime, **_: Any) -> None:
    if job.kind == JobKind.API and job.topic.startswith(f"{drafting.TOPIC}:"):
        drafting.keep_draft(job)
