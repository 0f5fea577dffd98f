"""Which rows of the network: every filter that more than one place needs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models

from miners.choices import LIVE_STATES, AttemptOutcome, JobKind, JobState, MinerStatus, Trust
from miners.limits import MINER_OFFLINE

if TYPE_CHECKING:
    from accounts.models import Business
    from miners.models import Attempt, EnrolmentToken, Job, Miner  # noqa: F401 - named in quotes


class EnrolmentTokenQuerySet(models.QuerySet["EnrolmentToken"]):
    """Enrolment tokens."""


class MinerQuerySet(models.QuerySet["Miner"]):
    """Miners."""

    def online(self, now: datetime) -> Self:
        return self.filter(last_active__gt=now - MINER_OFFLINE, trust__gt=Trust.BANNED)

    def known(self) -> Self:
        """Without the banned."""
        return self.filter(trust__gt=Trust.BANNED)

    def silent(self, now: datetime) -> Self:
        return self.exclude(last_active__gt=now - MINER_OFFLINE)

    def able_to_serve(self, job: Job, now: datetime) -> Self:
        """Who is online and could take this customer's job, busy or not."""
        gone = [MinerStatus.OFFLINE, MinerStatus.DRAINING, MinerStatus.PAUSED]
        able = (
            self.online(now)
            .exclude(status__in=gone)
            .filter(
                trust__gte=max(job.min_trust, Trust.VERIFIED),
                max_context__gte=job.context_tokens + job.max_tokens,
                features__contains=job.features,
                lanes__contains=[job.lane],
                pause_requested=False,
            )
        )
        return able.filter(model_ids__contains=[job.model]) if job.model else able

    def in_public_order(self) -> Self:
        return self.order_by("name")


class JobQuerySet(models.QuerySet["Job"]):
    """Jobs."""

    def for_business(self, business: Business) -> Self:
        return self.filter(business=business)

    def live(self) -> Self:
        return self.filter(state__in=LIVE_STATES)

    def queued(self) -> Self:
        return self.filter(state=JobState.QUEUED)

    def left_waiting(self, since: datetime) -> Self:
        """Customers' jobs that some miner failed or let go before then, and that no other has taken."""
        kinds = [JobKind.CHAT, JobKind.API]
        return self.queued().filter(kind__in=kinds, target_miner=None, progress_at__lt=since).exclude(tried=[])


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """Attempts."""

    def live(self) -> Self:
        return self.filter(outcome=AttemptOutcome.LIVE)

    def newest_first(self) -> Self:
        return self.order_by("-fence")
