"""The admin's first page: for platform staff the network, for business staff their customers."""

from __future__ import annotations

import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo
from typing import Any, Final

from django.db.models import Aggregate, Count, DurationField, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate, TruncHour
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from accounts.choices import KeyKind
from accounts.models import ApiKey, Business, User
from accounts.permissions import Right, businesses_with, has_right
from accounts.scoped_admin import user_of
from chats.choices import Role, Status
from chats.models import Bot, ChatLog, Conversation
from mia.lib import phrases
from miners.admin_live import latest_snapshot
from miners.choices import JobKind, JobState, Trust
from miners.models import Job, Miner

DAYS_CHARTED: Final = 14
HOURS_CHARTED: Final = 24
ROWS_SHOWN: Final = 8
FAILED: Final = [JobState.FAILED, JobState.EXPIRED]
SECONDS_WARNED: Final = 5


class Median(Aggregate):
    """PostgreSQL's median."""

    function = "percentile_cont"
    template = "percentile_cont(0.5) WITHIN GROUP (ORDER BY %(expressions)s)"
    allow_distinct = False


@dataclass(frozen=True)
class Tile:
    """One figure."""

    label: str
    figure: str
    note: str = ""
    tone: str = ""
    link: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Column:
    """One bar; heights in percent of the tallest."""

    title: str
    height: int
    second_height: int = 0


@dataclass(frozen=True)
class Bars:
    """A small bar chart in the order of time."""

    label: str
    columns: list[Column]
    first: str
    last: str


@dataclass(frozen=True)
class Step:
    """One thing that a new business has to do."""

    title: str
    text: str
    link: str
    is_done: bool


@dataclass(frozen=True)
class Overview:
    """What the page shows; the lists that a role has no use for are empty."""

    tiles: list[Tile]
    bars: Bars
    bars_title: str
    latest: list[Conversation]
    is_platform: bool = False
    suspects: tuple[Miner, ...] = ()
    failures: tuple[Job, ...] = ()
    steps: tuple[Step, ...] = ()
    has_dispatcher: bool = True


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the settings name as the index's callback."""
    user = user_of(request)
    now = timezone.now()
    if user.is_superuser:
        context["overview"] = platform_overview(user, now)
    elif has_right(user, Right.READ):
        context["overview"] = business_overview(user, now)
    return context


# --- Business staff


def business_overview(user: User, now: datetime) -> Overview:
    """Eight queries, whatever the number of rows."""
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


def midnight(now: datetime, zone: tzinfo) -> datetime:
    return now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)


def support_tiles(user: User, today: datetime) -> list[Tile]:
    listed = reverse("admin:chats_conversation_changelist")
    talks = Conversation.objects.visible_to(user).aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)),
        yesterday=Count("pk", filter=Q(created_at__gte=today - timedelta(days=1), created_at__lt=today)),
        waiting=Count("pk", filter=Q(status=Status.WAITING)),
    )
    answers = ChatLog.objects.visible_to(user).filter(timestamp__gte=today)
    said = answers.aggregate(ai=Count("pk", filter=Q(role=Role.ASSISTANT)), people=Count("pk", filter=Q(role=Role.AGENT)))
    jobs = visible_jobs(user).filter(created_at__gte=today, kind=JobKind.CHAT).aggregate(
        first_word=Median(F("first_token_at") - F("created_at"), output_field=DurationField()),
        failed=Count("pk", filter=Q(state__in=FAILED)),
    )
    is_slow = jobs["first_word"] is not None and jobs["first_word"] > timedelta(seconds=SECONDS_WARNED)
    return [
        Tile(_("Conversations today"), phrases.count(talks["today"]), _("%s yesterday") % phrases.count(talks["yesterday"]), link=listed),
        Tile(
            _("Waiting for a human"), phrases.count(talks["waiting"]), _("nobody has taken them yet") if talks["waiting"] else _("nobody waits"),
            tone="warn" if talks["waiting"] else "", link=f"{listed}?status__exact={Status.WAITING}",
        ),
        Tile(
            _("Answers by the AI today"), phrases.count(said["ai"]),
            _("%(share)s of all; %(people)d by people") % {"share": phrases.share(said["ai"], said["ai"] + said["people"]), "people": said["people"]},
        ),
        Tile(_("First word after"), phrases.span(jobs["first_word"]), _("median of today"), tone="warn" if is_slow else ""),
        Tile(
            _("Failed answers today"), phrases.count(jobs["failed"]), _("the visitor was offered a human") if jobs["failed"] else _("every question got one"),
            tone="bad" if jobs["failed"] else "", link=reverse("admin:miners_job_changelist") + "?state__exact=failed",
        ),
    ]  # fmt: skip


def visible_jobs(user: User) -> QuerySet[Job]:
    if user.is_superuser:
        return Job.objects.all()
    return Job.objects.filter(business__in=user.business_ids())


def conversations_by_day(user: User, now: datetime, zone: tzinfo) -> Bars:
    last = now.astimezone(zone).date()
    days = [last - timedelta(days=back) for back in reversed(range(DAYS_CHARTED))]
    since = midnight(now, zone) - timedelta(days=DAYS_CHARTED - 1)
    counted = Conversation.objects.visible_to(user).filter(created_at__gte=since).order_by()
    numbers = dict(counted.annotate(day=TruncDate("created_at", tzinfo=zone)).values_list("day").annotate(number=Count("pk")))
    most = max([*numbers.values(), 1])
    columns = [Column(f"{short_day(day)}: {numbers.get(day, 0)}", percent(numbers.get(day, 0), most)) for day in days]
    return Bars(_("Conversations per day"), columns, short_day(days[0]), _("today"))


def short_day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def percent(part: int, most: int) -> int:
    return round(100 * part / most)


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
        Step(_("Create a bot"), _("A name and a tone are enough to begin."), reverse("admin:chats_bot_add"), bot is not None),
        Step(_("Teach it"), _("Paste in what customers ask about: prices, hours, delivery, returns."), bot_url, bool(bot and bot.business_description)),
        Step(_("Make a key"), _("A publishable key that names the pages of your website."), reverse("admin:accounts_apikey_add") + "?kind=publishable", has_key),
        Step(_("Copy the snippet"), _("One line in your pages; the first question appears here."), bot_url, has_talk),
    ]  # fmt: skip
    return [] if all(step.is_done for step in steps) else steps


# --- Platform staff


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
        failures=tuple(failures.only("id", "kind", "error_code", "error_message", "finished_at", "business__name", "miner__name").order_by("-created_at")[:ROWS_SHOWN]),
        has_dispatcher=state is not None,
    )  # fmt: skip


def network_tiles(user: User, state: Mapping[str, Any] | None, now: datetime) -> list[Tile]:
    today = midnight(now, timezone.get_default_timezone())
    jobs = Job.objects.filter(created_at__gte=today).exclude(kind=JobKind.CANARY).aggregate(
        all=Count("pk"), failed=Count("pk", filter=Q(state__in=FAILED)), tokens=Sum("tokens_generated", default=0),
        first_word=Median(F("first_token_at") - F("created_at"), output_field=DurationField(), filter=Q(lane=0)),
    )  # fmt: skip
    queued = Job.objects.queued().count()
    talks = Conversation.objects.visible_to(user).aggregate(
        today=Count("pk", filter=Q(created_at__gte=today)), waiting=Count("pk", filter=Q(status=Status.WAITING))
    )
    listed = reverse("admin:miners_job_changelist")
    return [
        _miners_tile(state, now),
        Tile(_("Jobs today"), phrases.count(jobs["all"]), _("first word after %s, median") % phrases.span(jobs["first_word"]), link=listed),
        Tile(_("Failed today"), phrases.count(jobs["failed"]), phrases.share(jobs["failed"], jobs["all"]), tone="bad" if jobs["failed"] else "", link=f"{listed}?state__exact=failed"),
        Tile(_("In the queue"), phrases.count(queued), _("waiting for a miner"), tone="warn" if queued > 20 else "", link=f"{listed}?state__exact=queued"),
        Tile(_("Tokens today"), phrases.count(jobs["tokens"]), _("%s per second now") % phrases.count(state["tokens_per_second"] if state else 0)),
        Tile(
            _("Conversations today"), phrases.count(talks["today"]),
            ngettext("%d waits for a human", "%d wait for a human", talks["waiting"]) % talks["waiting"],
            link=reverse("admin:chats_conversation_changelist"),
        ),
    ]  # fmt: skip


def _miners_tile(state: Mapping[str, Any] | None, now: datetime) -> Tile:
    link, label = reverse("admin:network_live"), _("Miners online")
    online = int(state["online"]) if state else Miner.objects.online(now).count()
    note = _("%(idle)d idle · %(busy)d busy") % {"idle": state["idle"], "busy": state["busy"]} if state else ""
    return Tile(label, phrases.count(online), note or _("the dispatcher is silent"), tone="" if online else "bad", link=link)


def jobs_by_hour(now: datetime) -> Bars:
    last = now.replace(minute=0, second=0, microsecond=0)
    hours = [last - timedelta(hours=back) for back in reversed(range(HOURS_CHARTED))]
    jobs = Job.objects.filter(created_at__gte=hours[0]).exclude(kind=JobKind.CANARY).order_by()
    rows = jobs.annotate(hour=TruncHour("created_at")).values_list("hour").annotate(
        number=Count("pk"), failed=Count("pk", filter=Q(state__in=FAILED))
    )  # fmt: skip
    numbers = {hour: (number, failed) for hour, number, failed in rows}
    most = max([number for number, _failed in numbers.values()] + [1])
    columns = [_hour_column(hour, *numbers.get(hour, (0, 0)), most) for hour in hours]
    return Bars(_("Jobs per hour; failed ones on top"), columns, f"{timezone.localtime(hours[0]):%H:%M}", _("now"))


def _hour_column(hour: datetime, number: int, failed: int, most: int) -> Column:
    title = f"{timezone.localtime(hour):%H:%M}: {number}" + (f", {failed} {_('failed')}" if failed else "")
    return Column(title, percent(number - failed, most), percent(failed, most))


