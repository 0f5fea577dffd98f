"""Numbers and times as people say them, for pages."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

NOTHING = "–"


def ago(moment: datetime | None, now: datetime) -> str:
    """How long ago something was, in one unit; the future counts as now, since clocks differ a little."""
    if moment is None:
        return _("never")
    seconds = max(0, int((now - moment).total_seconds()))
    if seconds < 1:
        return _("now")
    if seconds < 60:
        return _("%d s ago") % seconds
    if seconds < 3600:
        return _("%d min ago") % (seconds // 60)
    if seconds < 2 * 86400:
        return _("%d h ago") % (seconds // 3600)
    return ngettext("%d day ago", "%d days ago", seconds // 86400) % (seconds // 86400)


def span(length: timedelta | float | None) -> str:
    """A length of time, given as such or in milliseconds: 85 ms, 1.4 s, 2 min 5 s, 3 h 4 min."""
    if length is None:
        return NOTHING
    ms = max(0.0, length.total_seconds() * 1000 if isinstance(length, timedelta) else float(length))
    if ms < 1000:
        return _("%d ms") % round(ms)
    seconds = ms / 1000
    if seconds < 60:
        return _("%s s") % (f"{seconds:.1f}" if seconds < 10 else str(round(seconds)))
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return _("%(minutes)d min %(seconds)d s") % {"minutes": minutes, "seconds": rest}
    return _("%(hours)d h %(minutes)d min") % {"hours": minutes // 60, "minutes": minutes % 60}


def count(number: float | None) -> str:
    """A number short enough for a tile: 950, 12,400, 1.2 M."""
    if number is None:
        return NOTHING
    if abs(number) >= 1_000_000_000:
        return f"{number / 1_000_000_000:.1f} G"
    if abs(number) >= 1_000_000:
        return f"{number / 1_000_000:.1f} M"
    if isinstance(number, float) and not number.is_integer() and abs(number) < 100:
        return f"{number:.1f}"
    return f"{round(number):,}"


def share(part: float, whole: float) -> str:
    """A part in percent."""
    return f"{round(100 * part / whole)} %" if whole else NOTHING


def memory(megabytes: float | None) -> str:
    """Memory given in MiB: 512 MB, 24 GB."""
    if not megabytes:
        return NOTHING
    return f"{round(megabytes / 1024)} GB" if megabytes >= 1024 else f"{round(megabytes)} MB"
