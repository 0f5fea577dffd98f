"""The front door of the network: every view, consumer, admin action, command and app above comes in here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import IntegrityError, connection, transaction
from django.db.models import F

from accounts.choices import KeyKind
from accounts.keys import digest_key, key_matches, new_key, random_text
from accounts.models import User
from accounts.tenancy import platform_scope
from mia.lib.errors import Conflict
from mia.lib.rows import insert
from miners import fairness, limits, live
from miners.choices import (
    AttemptOutcome,
    ErrorCode,
    JobKind,
    JobState,
    Lane,
    MinerStatus,
    Trust,
)
from miners.exceptions import EnrolmentRefused, MinerNameTaken
from miners.models import EnrolmentToken, Job, Miner
from miners.results import Accepted, Failure, Result, accept_result, end_unanswered, report_failure
from miners.tokens import estimate_messages
from miners.trust import set_trust

__all__ = ["Accepted", "Failure", "Result", "accept_result", "report_failure", "set_trust"]

ENROLMENT_TAG: Final = "mia_et_"
TYPICAL_JOB_MS: Final = 4000

POSITION: Final = """
SELECT (SELECT count(*) FROM miners_job
        WHERE state = 'queued' AND (lane, virtual_start) < (%(lane)s, %(virtual_start)s)),
       (SELECT coalesce(sum(slots), 0) FROM miners_miner WHERE status IN ('idle', 'busy'))
"""


@dataclass(frozen=True)
class JobRequest:
    """A unit of generation, as an app above asks for it; the first of its affinity key `opens_topic`."""

    kind: JobKind
    lane: Lane
    messages: list[dict[str, Any]]
    params: Mapping[str, Any] = field(default_factory=dict)
    tools: list[dict[str, Any]] = field(default_factory=list)
    tool_choice: Any = "auto"
    model: str = ""
    topic: str = ""
    affinity_key: str = ""
    opens_topic: bool = False
    prefix_key: str = ""
    min_trust: Trust = Trust.VERIFIED
    features: Sequence[str] = ()
    max_tokens: int = 500
    deadline: timedelta = limits.CHAT_DEADLINE
    stream: bool = True


@dataclass(frozen=True)
class QueuePosition:
    """How many queued jobs of the same lane go first, and a guess at the wait."""

    position: int
    eta_ms: int


def submit_job(*, business_id: int | None, request: JobRequest, now: datetime) -> Job:
    """Queues a job in the caller's transaction and wakes the network once it is committed."""
    context_tokens = estimate_messages(request.messages)
    cost = fairness.cost_of(context_tokens, request.max_tokens)
    with platform_scope():
        job = Job(
            business_id=business_id,
            kind=request.kind,
            lane=request.lane,
            messages=request.messages,
            params=dict(request.params),
            tools=request.tools,
            tool_choice=request.tool_choice,
            stream=request.stream,
            model=request.model,
            features=list(request.features),
            min_trust=request.min_trust,
            context_tokens=context_tokens,
            max_tokens=request.max_tokens,
            topic=request.topic,
            affinity_key=request.affinity_key,
            affinity_miner_id=None if request.opens_topic else _last_miner(request.affinity_key),
            prefix_key=request.prefix_key,
            virtual_start=fairness.next_tag(tenant=business_id, lane=request.lane, cost=cost),
            deadline=now + request.deadline,
            created_at=now,
        )
        insert(job)
    transaction.on_commit(live.wake_dispatch)
    return job


def cancel_job(*, job: Job, now: datetime) -> bool:
    """Ends a live job; its miner hears within a second. False if it had ended already."""
    return end_unanswered(
        job=job, state=JobState.CANCELLED, code=ErrorCode.CANCELLED, outcome=AttemptOutcome.CANCELLED, now=now
    )


def retry_job(*, job: Job, now: datetime) -> Job:
    """Queues a failed, cancelled or expired job again as a new job with the same words; raises Conflict."""
    if job.state in {JobState.QUEUED, JobState.OFFERED, JobState.RUNNING, JobState.COMPLETED}:
        raise Conflict("Only a job that ended without an answer can be retried.")
    request = JobRequest(
        kind=JobKind(job.kind),
        lane=Lane(job.lane),
        messages=job.messages,
        params=job.params,
        tools=job.tools,
        tool_choice=job.tool_choice,
        model=job.model,
        topic=job.topic,
        affinity_key=job.affinity_key,
        prefix_key=job.prefix_key,
        min_trust=Trust(job.min_trust),
        features=job.features,
        max_tokens=job.max_tokens,
        stream=job.stream,
    )
    with transaction.atomic():
        return submit_job(business_id=job.business_id, request=request, now=now)


def queue_position(job: Job) -> QueuePosition:
    """Where a queued job stands; (0, 0) once it has left the queue."""
    if job.state != JobState.QUEUED:
        return QueuePosition(0, 0)
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(POSITION, {"lane": job.lane, "virtual_start": job.virtual_start})
        ahead, slots = cursor.fetchone()
    return QueuePosition(ahead + 1, int((ahead + 1) * TYPICAL_JOB_MS / max(slots, 1)))


@transaction.atomic
def create_enrolment_token(
    *, name: str, trust: Trust, max_uses: int, expires_at: datetime | None = None, created_by: User | None = None
) -> tuple[EnrolmentToken, str]:
    """A token and its text, which is shown now and never again."""
    prefix = f"{ENROLMENT_TAG}{random_text(8)}"
    plain = prefix + random_text(32)
    token = EnrolmentToken.objects.create(
        name=name,
        prefix=prefix,
        digest=digest_key(plain),
        trust=trust,
        max_uses=max_uses,
        expires_at=expires_at,
        created_by=created_by,
    )
    return token, plain


def revoke_enrolment_token(*, token: EnrolmentToken, now: datetime) -> None:
    """Lets no further miner register with it. Idempotent."""
    EnrolmentToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=now)


@dataclass(frozen=True)
class Registered:
    """A registration's outcome; `plain_key` is '' when the miner was known and showed its key."""

    miner: Miner
    plain_key: str


def register_miner(
    *, fields: Mapping[str, Any], enrolment_token: str, plain_key: str, is_open: bool, now: datetime
) -> Registered:
    """Makes a miner, or updates the one that shows its key. Raises EnrolmentRefused, MinerNameTaken."""
    with transaction.atomic():
        known = Miner.objects.select_for_update().filter(name=fields["name"]).first()
        if known is not None:
            return _register_again(known, fields, plain_key, now)
        token = _use_enrolment_token(enrolment_token, now)
        if token is None and not is_open:
            raise EnrolmentRefused
        return _register_new(fields, token, now)


def _register_new(fields: Mapping[str, Any], token: EnrolmentToken | None, now: datetime) -> Registered:
    key = new_key(KeyKind.MINER)
    miner = Miner(
        key_prefix=key.prefix,
        key_digest=key.digest,
        enrolment_token=token,
        trust=token.trust if token else Trust.PROBATION,
        trust_reason=f"enrolled by {token.name}" if token else "open registration",
        trust_changed_at=now,
        created_at=now,
        last_active=now,
        **described(fields),
    )
    try:
        miner.save(force_insert=True)
    except IntegrityError as error:  # Two machines of one name, at once.
        raise MinerNameTaken from error
    return Registered(miner, key.plain)


def _register_again(known: Miner, fields: Mapping[str, Any], plain_key: str, now: datetime) -> Registered:
    if not plain_key or not key_matches(plain_key, known.key_digest):
        raise MinerNameTaken
    for name, value in described(fields).items():
        setattr(known, name, value)
    known.last_active = now
    known.save()
    return Registered(known, "")


def described(fields: Mapping[str, Any]) -> dict[str, Any]:
    """A registration's fields as a miner's columns; no model named means that it takes jobs that name none."""
    served = [dict(model) for model in fields.get("models") or []]
    gpus = [dict(gpu) for gpu in fields.get("gpus") or []]
    first_gpu = gpus[0] if gpus else {}
    return {
        "name": fields["name"],
        "ip_address": fields.get("ip_address") or "",
        "gpu_name": fields.get("gpu_name") or first_gpu.get("name", ""),
        "gpu_memory_mb": fields.get("gpu_memory_mb") or first_gpu.get("vram_mb", 0),
        "gpus": gpus,
        "status": fields.get("status") or MinerStatus.IDLE,
        "agent": fields.get("agent") or "",
        "instance": fields.get("instance") or "",
        "served_models": served,
        # A job that names no model is answered by the first: never by one that only gives numbers.
        "model_ids": sorted({model["id"] for model in served}, key=lambda name: (name in _number_models(served), name)),
        "features": sorted({feature for model in served for feature in model.get("features", [])}),
        "max_context": max([model["max_context"] for model in served], default=4096),
        "slots": fields.get("slots", 1),
        "slots_free": fields.get("slots", 1),
        "lanes": [lane.value for lane in Lane if lane.label in (fields.get("lanes") or Lane.labels)],
        "bench": dict(fields.get("bench") or {}),
    }


def _number_models(served: list[dict[str, Any]]) -> set[str]:
    return {model["id"] for model in served if {"embed", "rerank"} & set(model.get("features", []))}


def _use_enrolment_token(plain: str, now: datetime) -> EnrolmentToken | None:
    """Counts one use; raises EnrolmentRefused for a text that is no usable token."""
    if not plain:
        return None
    prefix = plain[: len(ENROLMENT_TAG) + 8]
    token = EnrolmentToken.objects.select_for_update().filter(prefix=prefix).first()
    if token is None or not key_matches(plain, token.digest) or not token.is_usable(now):
        raise EnrolmentRefused
    token.uses = F("uses") + 1
    token.save(update_fields=["uses"])
    token.refresh_from_db()
    return token


def set_status(*, miner: Miner, status: MinerStatus, now: datetime) -> None:
    """What a miner says of itself outside a heartbeat."""
    Miner.objects.filter(pk=miner.pk).update(status=status, last_active=now)


def request_drain(*, miner: Miner, drain: bool) -> None:
    """Has a miner finish what runs and take nothing new, or lets it work again."""
    Miner.objects.filter(pk=miner.pk).update(drain_requested=drain)


def request_pause(*, miner: Miner, pause: bool) -> None:
    """Has a miner finish customers' answers, hand its idle jobs back and wait, or lets it work again.

    It hears of it with its next heartbeat; until then it is given nothing.
    """
    Miner.objects.filter(pk=miner.pk).update(pause_requested=pause)


def limit_slots(*, miner: Miner, max_slots: int | None) -> None:
    """Caps the jobs that a miner is given at once; it is told with its next heartbeat."""
    Miner.objects.filter(pk=miner.pk).update(max_slots=max_slots, config_pending=True)


def _last_miner(affinity_key: str) -> int | None:
    if not affinity_key:
        return None
    served = Job.objects.filter(affinity_key=affinity_key, state=JobState.COMPLETED).order_by("-created_at")
    return served.values_list("miner_id", flat=True).first()
