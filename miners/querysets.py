"""Which rows of the network: every filter that more than one place needs."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models

from miners.choices import LIVE_STATES, AttemptOutcome, JobState, Trust
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


class AttemptQuerySet(models.QuerySet["Attempt"]):
    """Attempts."""

    def live(self) -> Self:
        return self.filter(outcome=AttemptOutcome.LIVE)

    def newest_first(self) -> Self:
        return self.order_by("-fence")
