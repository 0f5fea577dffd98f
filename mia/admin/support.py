"""What business staff see first: their customers today, and what is left to do before there are any."""

from __future__ import annotations

import zoneinfo
from datetime import datetime, timedelta, tzinfo
from typing import Final

from django.db.models import Count, DurationField, F, Q, QuerySet
from django.db.models.functions import TruncDate
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from accounts.choices import KeyKind
from accounts.models import ApiKey, Business, User
from accounts.permissions import Right, businesses_with
from accounts.principals import visible_business_ids
from chats.choices import Role, Status
from chats.models import Bot, ChatLog, Conversation
from knowledge.freshness import freshness_of
from mia.admin.figures import (
    FAILED,
    ROWS_SHOWN,
    Bars,
    Column,
    Median,
    Overview,
    Step,
    Tile,
    midnight,
    percent,
    short_day,
)
from mia.lib import phrases
from miners.choices import JobKind
from miners.models import Job

DAYS_CHARTED: Final = 14
SECONDS_WARNED: Final = 5


def business_overview(user: User, now: datetime) -> Overview:
    """Ten queries, whatever the number of rows."""
    zone = zone_of(user)
    return Overview(
        tiles=support_tiles(user, midnight(now, zone)),
        bars=conversations_by_day(user, now, zone),
        bars_title=_("Conversations, last %d days") % DAYS_CHARTED,
        latest=latest_conversations(user),
        steps=tuple(first_steps(user)),
    )


def zone_of(user: User) -> tzinfo:
    """The time zone of somebody's business; of several, the platform's."""
    names = set(Business.objects.visible_to(user).values_list("time_zone", flat=True)[:2])
    return zoneinfo.ZoneInfo(names.pop()) if len(names) == 1 else timezone.get_default_timezone()


def support_tiles(user: User, today: datetime) -> list[Tile]:
    listed = reverse("admin:chats_conversation_changelist")
    talks = Conversation.objects.visible_to(user).aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)),
        yesterday=Count("pk", filter=Q(created_at__gte=today - timedelta(days=1), created_at__lt=today)),
        waiting=Count("pk", filter=Q(status=Status.WAITING)),
    )
    answers = ChatLog.objects.visible_to(user).filter(timestamp__gte=today)
    said = answers.aggregate(
        ai=Count("pk", filter=Q(role=Role.ASSISTANT)), people=Count("pk", filter=Q(role=Role.AGENT))
    )
    jobs = (
        visible_jobs(user)
        .filter(created_at__gte=today, kind=JobKind.CHAT)
        .aggregate(
            first_word=Median(F("first_token_at") - F("created_at"), output_field=DurationField()),
            failed=Count("pk", filter=Q(state__in=FAILED)),
        )
    )
    is_slow = jobs["first_word"] is not None and jobs["first_word"] > timedelta(seconds=SECONDS_WARNED)
    return [
        Tile(
            _("Conversations today"),
            phrases.count(talks["today"]),
            _("%s yesterday") % phrases.count(talks["yesterday"]),
            link=listed,
        ),
        Tile(
            _("Waiting for a human"),
            phrases.count(talks["waiting"]),
            _("nobody has taken them yet") if talks["waiting"] else _("nobody waits"),
            tone="warn" if talks["waiting"] else "",
            link=f"{listed}?status__exact={Status.WAITING}",
        ),
        Tile(
            _("Answers by the AI today"),
            phrases.count(said["ai"]),
            _("%(share)s of all; %(people)d by people")
            % {"share": phrases.share(said["ai"], said["ai"] + said["people"]), "people": said["people"]},
        ),
        Tile(
            _("First word after"),
            phrases.span(jobs["first_word"]),
            _("median of today"),
            tone="warn" if is_slow else "",
        ),
        Tile(
            _("Failed answers today"),
            phrases.count(jobs["failed"]),
            _("the visitor was offered a human") if jobs["failed"] else _("every question got one"),
            tone="bad" if jobs["failed"] else "",
            link=reverse("admin:miners_job_changelist") + "?state__exact=failed",
        ),
        *freshness_tile(user),
    ]


def freshness_tile(user: User) -> list[Tile]:
    """How old the oldest thing is that a bot may say; none for who has taught nothing."""
    now = timezone.now()
    found = freshness_of(visible_business_ids(user), now=now)
    if found.oldest_fact_at is None:
        return []
    told = _("all of it is recent")
    if found.stale_documents:
        told = _("%d pages may be out of date") % found.stale_documents
    elif found.overdue_sources:
        told = _("%d sources are overdue") % found.overdue_sources
    listed = reverse("admin:knowledge_document_changelist") + "?o=7"
    return [
        Tile(
            _("Oldest fact"),
            phrases.ago(found.oldest_fact_at, now),
            told,
            tone="" if found.is_fresh else "warn",
            link=listed,
        )
    ]


def visible_jobs(user: User) -> QuerySet[Job]:
    if user.is_superuser:
        return Job.objects.all()
    return Job.objects.filter(business__in=user.business_ids())


def conversations_by_day(user: User, now: datetime, zone: tzinfo) -> Bars:
    last = now.astimezone(zone).date()
    days = [last - timedelta(days=back) for back in reversed(range(DAYS_CHARTED))]
    since = midnight(now, zone) - timedelta(days=DAYS_CHARTED - 1)
    counted = Conversation.objects.visible_to(user).filter(created_at__gte=since).order_by()
    numbers = dict(
        counted.annotate(day=TruncDate("created_at", tzinfo=zone)).values_list("day").annotate(number=Count("pk"))
    )
    most = max([*numbers.values(), 1])
    columns = [Column(f"{short_day(day)}: {numbers.get(day, 0)}", percent(numbers.get(day, 0), most)) for day in days]
    return Bars(_("Conversations per day"), columns, short_day(days[0]), _("today"))


def latest_conversations(user: User) -> list[Conversation]:
    rows = Conversation.objects.visible_to(user).select_related("bot", "business", "assignee")
    return list(rows.order_by("-last_message_at", "-pk")[:ROWS_SHOWN])


def first_steps(user: User) -> list[Step]:
    """What is left to do before a business answers its customers; empty once it does, or for who may not do it."""
    managed = businesses_with(user, Right.MANAGE)
    if not managed:
        return []
    business_id = managed[0]
    bot = Bot.objects.for_business(business_id).order_by("-is_default", "pk").first()
    keys = ApiKey.objects.for_business(business_id).live(timezone.now()).filter(kind=KeyKind.PUBLISHABLE)
    has_key, has_talk = keys.exists(), Conversation.objects.for_business(business_id).exists()
    bot_url = reverse("admin:chats_bot_change", args=[bot.pk]) if bot else reverse("admin:chats_bot_add")
    steps = [
        Step(
            _("Create a bot"),
            _("A name and a tone are enough to begin."),
            reverse("admin:chats_bot_add"),
            bot is not None,
        ),
        Step(
            _("Teach it"),
            _("Paste in what customers ask about: prices, hours, delivery, returns."),
            bot_url,
            bool(bot and bot.business_description),
        ),
        Step(
            _("Make a key"),
            _("A publishable key that names the pages of your website."),
            reverse("admin:accounts_apikey_add") + "?kind=publishable",
            has_key,
        ),
        Step(_("Copy the snippet"), _("One line in your pages; the first question appears here."), bot_url, has_talk),
    ]
    return [] if all(step.is_done for step in steps) else steps
