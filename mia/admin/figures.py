"""The figures and small charts that the admin's first page is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, tzinfo
from typing import Final

from django.db.models import Aggregate

from chats.models import Conversation
from miners.choices import JobState
from miners.models import Job, Miner

ROWS_SHOWN: Final = 8
FAILED: Final = [JobState.FAILED, JobState.EXPIRED]


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


def midnight(now: datetime, zone: tzinfo) -> datetime:
    return now.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)


def short_day(day: date) -> str:
    return f"{day:%a} {day.day} {day:%b}"


def percent(part: int, most: int) -> int:
    return round(100 * part / most)
