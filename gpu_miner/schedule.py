"""The hours in which the miner works, by the clock and time zone of its machine."""

import re
from dataclasses import dataclass
from datetime import datetime, time

SPAN = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})")


@dataclass(frozen=True)
class Span:
    """From one time of day until another; one that ends before it begins goes over midnight."""

    start: time
    end: time

    def holds(self, at: time) -> bool:
        if self.start < self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end

    def __str__(self) -> str:
        return f"{self.start:%H:%M}-{self.end:%H:%M}"


@dataclass(frozen=True)
class Hours:
    """The spans of a day in which to work; none means always."""

    spans: tuple[Span, ...] = ()

    def hold(self, at: datetime) -> bool:
        return not self.spans or any(span.holds(at.time()) for span in self.spans)

    def __str__(self) -> str:
        return ", ".join(map(str, self.spans)) or "always"


def parse_hours(text: str) -> Hours:
    """Hours from "22:00-08:00, 12:30-13:00"; raises ValueError that says what is wrong."""
    return Hours(tuple(_span(part.strip()) for part in text.split(",") if part.strip()))


def local_now() -> datetime:
    """Now, in the time zone of this machine."""
    return datetime.now().astimezone()


def _span(text: str) -> Span:
    found = SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"“{text}” is not a span of hours such as 22:00-08:00")
    first_hour, first_minute, last_hour, last_minute = map(int, found.groups())
    start = _time(first_hour, first_minute, text)
    # 24:00 is how people write the end of a day.
    end = time(0) if (last_hour, last_minute) == (24, 0) else _time(last_hour, last_minute, text)
    if start == end:
        raise ValueError(f"“{text}” is empty; leave the hours out to work always")
    return Span(start, end)


def _time(hour: int, minute: int, text: str) -> time:
    try:
        return time(hour, minute)
    except ValueError as error:
        raise ValueError(f"“{text}” has no such time of day") from error
