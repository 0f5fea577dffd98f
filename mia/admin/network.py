"""What platform staff see first: the network today, who is suspect, and what failed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from django.db.models import Count, DurationField, F, Q, Sum
from django.db.models.functions import TruncHour
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.models import User
from chats.choices import Status
from chats.models import Conversation
from mia.admin.figures import FAILED, ROWS_SHOWN, Bars, Column, Median, Overview, Tile, midnight, percent
from mia.admin.support import latest_conversations
from mia.lib import phrases
from miners.admin_live import latest_snapshot
from miners.choices import JobKind, Lane, Trust
from miners.models import Job, Miner

HOURS_CHARTED: Final = 24


def platform_overview(user: User, now: datetime) -> Overview:
    """Nine queries, whatever the number of rows. Runs in platform scope."""
    state = latest_snapshot()
    suspects = Miner.objects.filter(trust=Trust.SUSPECT).order_by("-trust_changed_at")[:ROWS_SHOWN]
    failures = Job.objects.filter(state__in=FAILED).exclude(kind=JobKind.CANARY).select_related("business", "miner")
    return Overview(
        tiles=network_tiles(user, state, now),
        bars=jobs_by_hour(now),
        bars_title=_("Jobs per hour, last %d hours") % HOURS_CHARTED,
        latest=latest_conversations(user),
        is_platform=True,
        suspects=tuple(suspects),
        failures=tuple(
            failures.only(
                "id", "kind", "error_code", "error_message", "finished_at", "business__name", "miner__name"
            ).order_by("-created_at")[:ROWS_SHOWN]
        ),
        has_dispatcher=state is not None,
    )


def network_tiles(user: User, state: Mapping[str, Any] | None, now: datetime) -> list[Tile]:
    today = midnight(now, timezone.get_default_timezone())
    jobs = (
        Job.objects.filter(created_at__gte=today)
        .exclude(kind=JobKind.CANARY)
        .aggregate(
            all=Count("pk"),
            failed=Count("pk", filter=Q(state__in=FAILED)),
            tokens=Sum("tokens_generated", default=0),
            first_word=Median(
                F("first_token_at") - F("created_at"), output_field=DurationField(), filter=Q(lane=Lane.CHAT)
            ),
        )
    )
    queued = Job.objects.queued().exclude(kind=JobKind.CANARY).count()
    talks = Conversation.objects.visible_to(user).aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)), waiting=Count("pk", filter=Q(status=Status.WAITING))
    )
    listed = reverse("admin:miners_job_changelist")
    return [
        _miners_tile(state, now),
        Tile(
            _("Jobs today"),
            phrases.count(jobs["all"]),
            _("first word after %s, median") % phrases.span(jobs["first_word"]),
            link=listed,
        ),
        Tile(
            _("Failed today"),
            phrases.count(jobs["failed"]),
            phrases.share(jobs["failed"], jobs["all"]),
            tone="bad" if jobs["failed"] else "",
            link=f"{listed}?state__exact=failed",
        ),
        Tile(
            _("In the queue"),
            phrases.count(queued),
            _("waiting for a miner"),
            tone="warn" if queued > 20 else "",
            link=f"{listed}?state__exact=queued",
        ),
        Tile(
            _("Tokens today"),
            phrases.count(jobs["tokens"]),
            _("%s per second now") % phrases.count(state["tokens_per_second"] if state else 0),
        ),
        Tile(
            _("Conversations today"),
            phrases.count(talks["today"]),
            ngettext("%d waits for a human", "%d wait for a human", talks["waiting"]) % talks["waiting"],
            link=reverse("admin:chats_conversation_changelist"),
        ),
    ]


def _miners_tile(state: Mapping[str, Any] | None, now: datetime) -> Tile:
    link, label = reverse("admin:network_live"), _("Miners online")
    online = int(state["online"]) if state else Miner.objects.online(now).count()
    note = _("%(idle)d idle · %(busy)d busy") % {"idle": state["idle"], "busy": state["busy"]} if state else ""
    return Tile(
        label, phrases.count(online), note or _("the dispatcher is silent"), tone="" if online else "bad", link=link
    )


def jobs_by_hour(now: datetime) -> Bars:
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=back) for back in reversed(range(HOURS_CHARTED))]
    jobs = Job.objects.filter(created_at__gte=hours[0]).exclude(kind=JobKind.CANARY).order_by()
    rows = (
        jobs.annotate(hour=TruncHour("created_at"))
        .values_list("hour")
        .annotate(number=Count("pk"), failed=Count("pk", filter=Q(state__in=FAILED)))
    )
    numbers = {hour: (number, failed) for hour, number, failed in rows}
    most = max([number for number, _failed in numbers.values()] + [1])
    columns = [_hour_column(hour, *numbers.get(hour, (0, 0)), most) for hour in hours]
    return Bars(_("Jobs per hour; failed ones on top"), columns, f"{timezone.localtime(hours[0]):%H:%M}", _("now"))


def _hour_column(hour: datetime, number: int, failed: int, most: int) -> Column:
    title = f"{timezone.localtime(hour):%H:%M}: {number}" + (f", {failed} {_('failed')}" if failed else "")
    return Column(title, percent(number - failed, most), percent(failed, most))
