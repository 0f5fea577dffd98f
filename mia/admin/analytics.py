"""The page that says what became of conversations, for each business, bot, channel and period."""

from __future__ import annotations

import csv
import zoneinfo
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from django.views.decorators.http import require_GET

from accounts.models import Business
from accounts.permissions import Right, has_right
from accounts.scoped_admin import user_of
from chats.analytics.outcomes import COUNTS, MEANS, Outcomes, Window, outcomes_of
from chats.choices import ChannelKind, HandoffReason
from chats.models import Bot
from mia.admin.figures import Bars, Column, Tile, midnight, percent, short_day
from mia.lib import phrases

PERIODS: Final = {
    "1": gettext_lazy("Today"),
    "7": gettext_lazy("7 days"),
    "30": gettext_lazy("30 days"),
    "90": gettext_lazy("90 days"),
}
MOST_BUSINESSES: Final = 500

DEFINITIONS: Final[Sequence[tuple[str | Promise, str | Promise]]] = (
    (
        gettext_lazy("Conversations"),
        gettext_lazy("Those that began in the period and in which the visitor wrote. All shares are shares of these."),
    ),
    (gettext_lazy("Covered"), gettext_lazy("The AI answered at least once.")),
    (gettext_lazy("Solved by the AI"), gettext_lazy("The AI answered, nobody asked for a human, and no human wrote.")),
    (gettext_lazy("With help"), gettext_lazy("Both the AI and a human wrote.")),
    (gettext_lazy("By people"), gettext_lazy("Only humans wrote.")),
    (
        gettext_lazy("Handed over"),
        gettext_lazy("It waited for a human or one took it, counted once, with the first reason."),
    ),
    (gettext_lazy("Durable"), gettext_lazy("An agent resolved it, and it was not opened again within seven days.")),
    (
        gettext_lazy("First answer"),
        gettext_lazy(
            "From the first question to the AI's first answer; of people from the wish for a human. "
            "Median, and what nine of ten wait at most."
        ),
    ),
    (
        gettext_lazy("Satisfaction"),
        gettext_lazy("Mean of the stars, of those solved by the AI beside those in which a human wrote."),
    ),
)


@dataclass(frozen=True)
class Chosen:
    """What the page was asked for."""

    business: Business
    bot: Bot | None
    channel: str
    period: str

    def window(self, now: datetime) -> Window:
        """Whole days in the business's time zone, today included."""
        zone = zoneinfo.ZoneInfo(self.business.time_zone)
        since = midnight(now, zone) - timedelta(days=int(self.period) - 1)
        return Window(
            self.business.pk, since, now, self.business.time_zone, self.bot.pk if self.bot else None, self.channel
        )


@require_GET
def analytics_page(request: HttpRequest) -> HttpResponse:
    """For everybody who may read a business; a stranger's is not found."""
    user = user_of(request)
    if not has_right(user, Right.READ):
        raise PermissionDenied
    businesses = list(Business.objects.visible_to(user).order_by("name")[:MOST_BUSINESSES])
    context: dict[str, Any] = {
        **admin.site.each_context(request),
        "title": _("Analytics"),
        "businesses": businesses,
        "periods": PERIODS.items(),
        "channels": ChannelKind.choices,
        "definitions": DEFINITIONS,
    }
    if not businesses:
        return TemplateResponse(request, "admin/analytics.html", context)
    chosen = _chosen(request, businesses)
    window = chosen.window(timezone.now())
    found = outcomes_of(window)
    if "csv" in request.GET:
        return _as_csv(chosen, found)
    bots = Bot.objects.for_business(chosen.business).order_by("name")
    context |= {
        "chosen": chosen,
        "bots": bots,
        "outcomes": found,
        "tiles": tiles(found, outcomes_of(window.before(int(chosen.period)))),
        "bars": by_day(found, window),
        "reasons": [(_reason(name), number) for name, number in sorted(found.reasons.items())],
        "days": sorted(found.days.items(), reverse=True),
    }
    return TemplateResponse(request, "admin/analytics.html", context)


def tiles(found: Outcomes, before: Outcomes) -> list[Tile]:
    whole = found.eligible
    shares = [
        (_("Covered"), found.covered, before.covered),
        (_("Solved by the AI"), found.autonomous, before.autonomous),
        (_("With help"), found.assisted, before.assisted),
        (_("By people"), found.human_only, before.human_only),
        (_("Handed over"), found.handed, before.handed),
        (_("Durable"), found.durable, before.durable),
    ]
    return [
        Tile(_("Conversations"), phrases.count(whole), _("%s before") % phrases.count(before.eligible)),
        *(
            Tile(label, phrases.share(now, whole), _before(phrases.share(then, before.eligible)))
            for label, now, then in shares
        ),
        Tile(_("First answer, AI"), _seconds(found.ai_median_s), _("nine of ten: %s") % _seconds(found.ai_p90_s)),
        Tile(
            _("First answer, people"),
            _seconds(found.human_median_s),
            _("nine of ten: %s") % _seconds(found.human_p90_s),
        ),
        Tile(_("Satisfaction, AI"), _stars(found.csat_ai), _("%d ratings") % found.rated_ai),
        Tile(_("Satisfaction, people"), _stars(found.csat_human), _("%d ratings") % found.rated_human),
        Tile(_("Helpful answers"), phrases.share(found.thumbs_up, found.thumbs), _("%d thumbs") % found.thumbs),
        Tile(
            _("Tokens per conversation"),
            phrases.count(found.tokens),
            _("%s messages") % phrases.count(found.messages),
        ),
    ]


def by_day(found: Outcomes, window: Window) -> Bars:
    zone = zoneinfo.ZoneInfo(window.zone)
    first, last = window.since.astimezone(zone).date(), window.until.astimezone(zone).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    most = max([*(day.eligible for day in found.days.values()), 1])
    columns = []
    for day in days:
        there = found.days.get(day, Outcomes())
        title = _("%(day)s: %(all)d, of which handed over %(handed)d") % {
            "day": short_day(day),
            "all": there.eligible,
            "handed": there.handed,
        }
        rest = there.eligible - there.handed
        columns.append(Column(title, percent(rest, most), percent(there.handed, most)))
    return Bars(_("Conversations per day, those handed over in red"), columns, short_day(first), short_day(last))


def _chosen(request: HttpRequest, businesses: list[Business]) -> Chosen:
    business = _by_id(businesses, request.GET.get("business", ""), businesses[0])
    bots = list(Bot.objects.for_business(business)) if request.GET.get("bot") else []
    channel, period = request.GET.get("channel", ""), request.GET.get("period", "30")
    return Chosen(
        business=business,
        bot=_by_id(bots, request.GET.get("bot", ""), None),
        channel=channel if channel in ChannelKind.values else "",
        period=period if period in PERIODS else "30",
    )


def _by_id(rows: Sequence[Any], text: str, default: Any) -> Any:
    """Raises Http404 for an id that is not among the rows."""
    if not text:
        return default
    found = next((row for row in rows if str(row.pk) == text), None)
    if found is None:
        raise Http404
    return found


def _as_csv(chosen: Chosen, found: Outcomes) -> HttpResponse:
    """Numbers only, so that no cell can be a formula."""
    name = f"analytics-{chosen.business.pk}-{chosen.period}d.csv"
    response = HttpResponse(content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}"'
    writer = csv.writer(response)
    writer.writerow(["day", *COUNTS, *MEANS])
    for day, there in sorted(found.days.items()):
        figures = [getattr(there, name) for name in (*COUNTS, *MEANS)]
        writer.writerow([day.isoformat(), *("" if figure is None else figure for figure in figures)])
    return response


def _before(share: str) -> str:
    return _("%s before") % share


def _seconds(seconds: float | None) -> str:
    return phrases.span(None if seconds is None else timedelta(seconds=seconds))


def _stars(mean: float | None) -> str:
    return phrases.NOTHING if mean is None else f"{mean:.1f}"


def _reason(name: str) -> str:
    return str(HandoffReason(name).label) if name in HandoffReason.values else name or str(_("Other"))
