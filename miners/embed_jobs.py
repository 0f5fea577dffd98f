"""Jobs that ask for vectors instead of words: at most 64 texts each, whose numbers nobody has checked yet."""

import base64
import binascii
import json
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from accounts.tenancy import platform_scope
from mia.lib.errors import InvalidRequest
from miners.choices import JobKind, JobState, Lane, MinerStatus, Trust
from miners.models import Job, Miner
from miners.services import JobRequest, cancel_job, submit_job
from miners.tokens import TOKENS_PER_MESSAGE, estimate_tokens
from miners.trust import set_trust

FEATURE: Final = "embed"
MAX_TEXTS: Final = 64
POLL_S: Final = 0.05
POLL_LONGEST_S: Final = 0.5
BYTES_PER_NUMBER: Final = 2


@dataclass(frozen=True)
class EmbedRequest:
    """Texts with their prefixes, and the model that is to read them; `avoid` are miners that must not."""

    texts: Sequence[str]
    model: str
    dimensions: int
    business_id: int | None = None
    min_trust: Trust = Trust.TRUSTED
    avoid: Sequence[int] = field(default_factory=list)


@dataclass(frozen=True)
class Reply:
    """What a miner handed in; `vectors` is None where it makes no sense at all."""

    miner_id: int
    vectors: list[tuple[float, ...]] | None


def embed(request: EmbedRequest, *, wait_s: float) -> Reply | None:
    """Puts the texts on the network and waits; None when nobody serves the model or no answer came in time.

    Not for a transaction: the network sees a job only once it is committed.
    """
    now = timezone.now()
    if not is_served(model=request.model, min_trust=request.min_trust, avoid=request.avoid, now=now):
        return None
    job = submit(request, deadline=timedelta(seconds=wait_s), now=now)
    ended = wait_for(job.pk, wait_s)
    if ended is None:
        cancel_job(job=job, now=timezone.now())
        return None
    state, miner_id, output = ended
    if state != JobState.COMPLETED or miner_id is None:
        return None
    return Reply(miner_id, read_vectors(output, count=len(request.texts), dimensions=request.dimensions))


def submit(request: EmbedRequest, *, deadline: timedelta, now: datetime) -> Job:
    """Each text is read alone, so the longest is what the miner's context must hold."""
    if not 1 <= len(request.texts) <= MAX_TEXTS:
        raise InvalidRequest(f"One job takes 1 to {MAX_TEXTS} texts.")
    with platform_scope(), transaction.atomic():
        job = submit_job(business_id=request.business_id, request=_job_request(request, deadline), now=now)
        job.context_tokens = max(estimate_tokens(text) for text in request.texts) + TOKENS_PER_MESSAGE
        job.tried = list(request.avoid)
        job.save(update_fields=["context_tokens", "tried"])
    return job


def is_served(
    *, model: str, min_trust: Trust, avoid: Sequence[int] = (), now: datetime, feature: str = FEATURE
) -> bool:
    able = Miner.objects.online(now).exclude(status__in=[MinerStatus.OFFLINE, MinerStatus.DRAINING, MinerStatus.PAUSED])
    able = able.filter(
        trust__gte=max(min_trust, Trust.VERIFIED), features__contains=[feature], model_ids__contains=[model]
    )
    return able.exclude(pk__in=list(avoid)).exists()


def distrust(miner_id: int, *, reason: str, now: datetime) -> None:
    """A miner that sent wrong vectors gets no work that counts until people have looked at it."""
    miner = Miner.objects.filter(pk=miner_id).first()
    if miner is not None and miner.trust > Trust.SUSPECT:
        set_trust(miner, Trust.SUSPECT, reason=f"wrong vectors: {reason}", now=now)


def read_vectors(output: str, *, count: int, dimensions: int) -> list[tuple[float, ...]] | None:
    """`{"dimensions": n, "vectors": base64 of little-endian float16}`; None for anything else."""
    try:
        body: Any = json.loads(output)
        raw = base64.b64decode(body["vectors"], validate=True)
    except (ValueError, KeyError, TypeError, binascii.Error):
        return None
    width = dimensions * BYTES_PER_NUMBER
    if body.get("dimensions") != dimensions or len(raw) != count * width:
        return None
    return [struct.unpack_from(f"<{dimensions}e", raw, at) for at in range(0, len(raw), width)]


def _job_request(request: EmbedRequest, deadline: timedelta) -> JobRequest:
    return JobRequest(
        kind=JobKind.EMBED,
        lane=Lane.IDLE,
        messages=[{"role": "user", "content": text} for text in request.texts],
        params={"dimensions": request.dimensions},
        model=request.model,
        min_trust=request.min_trust,
        features=(FEATURE,),
        max_tokens=1,
        deadline=deadline,
        stream=False,
    )


def wait_for(job_id: UUID, wait_s: float) -> tuple[str, int | None, str] | None:
    """State, miner and output of a job once it has ended; None where that takes longer."""
    give_up = time.monotonic() + wait_s
    pause = POLL_S
    while time.monotonic() < give_up:
        with platform_scope():
            ended = Job.objects.filter(pk=job_id).exclude(finished_at=None).values_list("state", "miner_id", "output")
            row = ended.first()
        if row is not None:
            return row
        time.sleep(pause)
        pause = min(pause * 1.3, POLL_LONGEST_S)
    return None
