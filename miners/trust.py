"""How far a miner is trusted, and what moves it: canaries, forgeries, and people."""

import logging
import random
from datetime import datetime, timedelta
from typing import Any, Final, TypedDict

from django.conf import settings
from django.db import transaction
from django.db.models import F, Max, Q
from django.utils import timezone
from django.utils.module_loading import import_string

from miners import limits
from miners.choices import JobKind, JobState, Lane, MinerStatus, Trust
from miners.models import Canary, CanaryTrial, Job, Miner

logger = logging.getLogger(__name__)

CANARY_DEADLINE: Final = limits.CHAT_DEADLINE


class ChatWords(TypedDict):
    """What a chat job consists of, for a miner's eyes."""

    messages: list[dict[str, Any]]
    params: dict[str, Any]
    max_tokens: int
    prefix_key: str


def set_trust(miner: Miner, trust: Trust, *, reason: str, now: datetime) -> None:
    """Moves a miner, and says why; it takes effect within two seconds."""
    Miner.objects.filter(pk=miner.pk).update(trust=trust, trust_reason=reason[:200], trust_changed_at=now)
    miner.trust = trust
    logger.info("Miner %s is now %s: %s", miner.pk, trust.label, reason)


def judge_canary(job: Job, *, now: datetime) -> None:
    """Marks the trial of a finished canary and moves its miner. An engine's failure is no wrong answer."""
    if job.kind != JobKind.CANARY:
        return
    trial = CanaryTrial.objects.select_related("canary", "miner").filter(pk=job.pk, passed=None).first()
    if trial is None or job.state != JobState.COMPLETED:
        return
    trial.passed = trial.canary.expected.casefold() in job.output.casefold()
    trial.save(update_fields=["passed"])
    column = "canaries_passed" if trial.passed else "canaries_failed"
    Miner.objects.filter(pk=trial.miner_id).update(**{column: F(column) + 1})
    trial.miner.refresh_from_db()
    _reconsider(trial.miner, now)


def _reconsider(miner: Miner, now: datetime) -> None:
    recent = list(
        CanaryTrial.objects.filter(miner=miner, passed__isnull=False)
        .filter(created_at__gt=miner.trust_changed_at)
        .order_by("-created_at")
        .values_list("passed", flat=True)[: limits.CANARY_WINDOW]
    )
    failed = recent.count(False)
    if failed >= limits.CANARY_FAILURES_TO_SUSPECT and miner.trust > Trust.SUSPECT:
        set_trust(miner, Trust.SUSPECT, reason=f"{failed} of the last {len(recent)} canaries failed", now=now)
    elif miner.trust == Trust.PROBATION and not failed and len(recent) >= limits.CANARIES_TO_VERIFY:
        set_trust(miner, Trust.VERIFIED, reason=f"{len(recent)} canaries passed", now=now)


def note_forgery(miner: Miner, *, job_known: bool) -> None:
    """A result for an attempt that was never this miner's; three of them make a suspect. Runs in platform scope.

    A wrong fence for a job that the miner did hold is confusion more often than malice, and counts the same.
    """
    Miner.objects.filter(pk=miner.pk).update(forgery_count=F("forgery_count") + 1)
    miner.refresh_from_db(fields=["forgery_count", "trust"])
    logger.warning("Miner %s sent a fence that is not its own (job known to it: %s)", miner.pk, job_known)
    if miner.forgery_count >= limits.FORGERIES_TO_SUSPECT and miner.trust > Trust.SUSPECT:
        set_trust(miner, Trust.SUSPECT, reason="repeated forged fences", now=timezone.now())


def send_due_canaries(*, now: datetime) -> int:
    """Gives online miners whose time has come one canary each, aimed at it alone. Runs in platform scope.

    A few at a time, those first that waited longest: a network that comes online as one would otherwise be tested as
    one, and customers would wait meanwhile (measured with 300 miners: 1.4 s).
    """
    canaries = list(Canary.objects.filter(is_active=True))
    if not canaries:
        return 0
    miners = _miners_without_canary(now)
    newest = dict(CanaryTrial.objects.filter(miner__in=miners).values_list("miner").annotate(Max("created_at")))
    due = [miner for miner in miners if miner.pk not in newest or now - newest[miner.pk] >= _interval(miner)]
    due.sort(key=lambda miner: newest.get(miner.pk, miner.created_at))
    chosen = due[: max(limits.CANARIES_AT_ONCE, len(miners) // limits.MINERS_PER_CANARY)]
    for miner in chosen:
        send_canary(miner, random.choice(canaries), now=now)  # noqa: S311
    return len(chosen)


def _miners_without_canary(now: datetime) -> list[Miner]:
    pending = Q(canary_trials__passed=None, canary_trials__job__finished_at=None, canary_trials__isnull=False)
    idle = Miner.objects.online(now).filter(status=MinerStatus.IDLE)
    return list(idle.exclude(pk__in=Miner.objects.filter(pending).values("pk")))


def _interval(miner: Miner) -> timedelta:
    return limits.CANARY_EVERY_IN_PROBATION if miner.trust <= Trust.PROBATION else limits.CANARY_EVERY


@transaction.atomic
def send_canary(miner: Miner, canary: Canary, *, now: datetime) -> Job:
    """One canary for one miner. To the miner it looks like any chat job, for those who make chat jobs word it."""
    words: ChatWords = import_string(settings.CANARY_PROMPT)(facts=canary.facts, question=canary.question)
    job = Job.objects.create(
        kind=JobKind.CANARY,
        lane=Lane.IDLE,
        messages=words["messages"],
        params=words["params"],
        max_tokens=words["max_tokens"],
        prefix_key=words["prefix_key"],
        tool_choice="auto",
        min_trust=Trust.SUSPECT,
        target_miner=miner,
        deadline=now + CANARY_DEADLINE,
        created_at=now,
    )
    CanaryTrial.objects.create(job=job, canary=canary, miner=miner, created_at=now)
    return job
