"""Jobs that ask how well passages answer a question: a cross-encoder reads each with the question and gives a score."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.tenancy import platform_scope
from mia.lib.errors import InvalidRequest
from miners.choices import JobKind, JobState, Lane, Trust
from miners.embed_jobs import is_served, wait_for
from miners.models import Job
from miners.services import JobRequest, cancel_job, submit_job
from miners.tokens import TOKENS_PER_MESSAGE, estimate_tokens

FEATURE: Final = "rerank"
MAX_PASSAGES: Final = 32


@dataclass(frozen=True)
class RerankRequest:
    """A question with the passages that may answer it, and the model that is to judge them."""

    question: str
    passages: Sequence[str]
    model: str
    business_id: int | None = None
    min_trust: Trust = Trust.VERIFIED


@dataclass(frozen=True)
class Scores:
    """One score per passage, the higher the better, and the miner that gave them."""

    miner_id: int
    scores: list[float]


def rerank(request: RerankRequest, *, wait_s: float) -> Scores | None:
    """Asks the network and waits; None when nobody serves the model, or no scores that make sense came in time.

    Not for a transaction: the network sees a job only once it is committed.
    """
    now = timezone.now()
    if not is_served(model=request.model, min_trust=request.min_trust, now=now, feature=FEATURE):
        return None
    job = submit(request, deadline=timedelta(seconds=wait_s), now=now)
    ended = wait_for(job.pk, wait_s)
    if ended is None:
        cancel_job(job=job, now=timezone.now())
        return None
    state, miner_id, output = ended
    scores = read_scores(output, count=len(request.passages)) if state == JobState.COMPLETED else None
    return Scores(miner_id, scores) if scores is not None and miner_id is not None else None


def submit(request: RerankRequest, *, deadline: timedelta, now: datetime) -> Job:
    """The first message is the question, the others are the passages; each pair is read by itself."""
    if not 1 <= len(request.passages) <= MAX_PASSAGES:
        raise InvalidRequest(f"One job takes 1 to {MAX_PASSAGES} passages.")
    longest = max(estimate_tokens(passage) for passage in request.passages)
    with platform_scope(), transaction.atomic():
        job = submit_job(business_id=request.business_id, request=_job_request(request, deadline), now=now)
        job.context_tokens = estimate_tokens(request.question) + longest + 2 * TOKENS_PER_MESSAGE
        job.save(update_fields=["context_tokens"])
    return job


def read_scores(output: str, *, count: int) -> list[float] | None:
    """`{"scores": [number, …]}`, one for each passage; None for anything else."""
    try:
        body: Any = json.loads(output)
        scores = [float(score) for score in body["scores"]]
    except (ValueError, KeyError, TypeError, OverflowError):
        return None
    return scores if len(scores) == count and all(map(math.isfinite, scores)) else None


def _job_request(request: RerankRequest, deadline: timedelta) -> JobRequest:
    return JobRequest(
        kind=JobKind.RERANK,
        lane=Lane.CHAT,
        messages=[{"role": "user", "content": text} for text in (request.question, *request.passages)],
        params={},
        model=request.model,
        min_trust=request.min_trust,
        features=(FEATURE,),
        max_tokens=1,
        deadline=deadline,
        stream=False,
    )
