"""The outcomes of the conversations that began in a window of days, counted by one statement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from django.db import connection

DURABLE_FOR: Final = timedelta(days=7)

# `last_message_at` is never before `created_at`, and has the index.
OUTCOMES: Final = """
WITH talks AS (
    SELECT c.id, (c.created_at AT TIME ZONE %(zone)s)::date AS day, said.first_asked, said.first_ai, said.first_human,
           said.first_ai IS NOT NULL AS ai, said.first_human IS NOT NULL AS human, said.messages, said.tokens,
           steps.handed_at IS NOT NULL AS handed, steps.handed_at, steps.reason,
           steps.closed_at IS NOT NULL AND NOT EXISTS (
               SELECT FROM chats_ownershipchange again
               WHERE again.conversation_id = c.id AND again.from_owner = 'closed'
                 AND again.at BETWEEN steps.closed_at AND steps.closed_at + %(durable)s::interval
           ) AS durable,
           r.score
    FROM chats_conversation c
    JOIN LATERAL (
        SELECT min(l.timestamp) FILTER (WHERE l.role = 'user') AS first_asked,
               min(l.timestamp) FILTER (WHERE l.role = 'assistant') AS first_ai,
               min(l.timestamp) FILTER (WHERE l.role = 'agent') AS first_human,
               count(*) FILTER (WHERE l.role IN ('user', 'assistant', 'agent')) AS messages,
               coalesce(sum(l.prompt_tokens + l.tokens_generated), 0) AS tokens
        FROM chats_chatlog l WHERE l.conversation_id = c.id
    ) said ON said.first_asked IS NOT NULL
    LEFT JOIN LATERAL (
        SELECT min(o.at) FILTER (WHERE o.to_owner IN ('queue', 'human')) AS handed_at,
               (array_agg(o.reason ORDER BY o.id) FILTER (WHERE o.to_owner IN ('queue', 'human')))[1] AS reason,
               max(o.at) FILTER (WHERE o.to_owner = 'closed') AS closed_at
        FROM chats_ownershipchange o WHERE o.conversation_id = c.id
    ) steps ON true
    LEFT JOIN chats_rating r ON r.conversation_id = c.id
    WHERE c.business_id = %(business)s AND c.last_message_at >= %(since)s
      AND c.created_at >= %(since)s AND c.created_at < %(until)s
      AND (%(bot)s::bigint IS NULL OR c.bot_id = %(bot)s)
      AND (%(channel)s = '' OR c.channel = %(channel)s)
)
SELECT day, reason, GROUPING(day) = 1 AND GROUPING(reason) = 1 AS is_whole, GROUPING(day) = 0 AS is_day,
       count(*) AS eligible,
       count(*) FILTER (WHERE ai) AS covered,
       count(*) FILTER (WHERE ai AND NOT human AND NOT handed) AS autonomous,
       count(*) FILTER (WHERE ai AND human) AS assisted,
       count(*) FILTER (WHERE human AND NOT ai) AS human_only,
       count(*) FILTER (WHERE handed) AS handed,
       count(*) FILTER (WHERE durable) AS durable,
       avg(score) FILTER (WHERE ai AND NOT human AND NOT handed) AS csat_ai,
       count(score) FILTER (WHERE ai AND NOT human AND NOT handed) AS rated_ai,
       avg(score) FILTER (WHERE human) AS csat_human,
       count(score) FILTER (WHERE human) AS rated_human,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM first_ai - first_asked)) AS ai_median_s,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM first_ai - first_asked)) AS ai_p90_s,
       percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM first_human - coalesce(handed_at, first_asked)))
           AS human_median_s,
       percentile_cont(0.9) WITHIN GROUP (ORDER BY extract(epoch FROM first_human - coalesce(handed_at, first_asked)))
           AS human_p90_s,
       avg(messages) AS messages, avg(tokens) AS tokens
FROM talks GROUP BY GROUPING SETS ((), (day), (reason))
"""

VERDICTS: Final = """
SELECT count(*) FILTER (WHERE f.verdict = 'positive'), count(*)
FROM chats_feedback f JOIN chats_chatlog l ON l.id = f.message_id JOIN chats_conversation c ON c.id = l.conversation_id
WHERE c.business_id = %(business)s AND c.last_message_at >= %(since)s
  AND c.created_at >= %(since)s AND c.created_at < %(until)s
  AND (%(bot)s::bigint IS NULL OR c.bot_id = %(bot)s) AND (%(channel)s = '' OR c.channel = %(channel)s)
  AND EXISTS (SELECT FROM chats_chatlog q WHERE q.conversation_id = c.id AND q.role = 'user')
"""


@dataclass(frozen=True)
class Window:
    """Which conversations: those of one business that began in [since, until), perhaps of one bot or channel."""

    business_id: int
    since: datetime
    until: datetime
    zone: str
    bot_id: int | None = None
    channel: str = ""

    def before(self, days: int) -> Window:
        """The same hours so many days earlier, by the zone's clocks: today until ten beside yesterday until ten."""
        zone, back = ZoneInfo(self.zone), timedelta(days=days)
        since, until = (moment.astimezone(zone) - back for moment in (self.since, self.until))
        return replace(self, since=since, until=until)


@dataclass(frozen=True)
class Outcomes:
    """Counts of conversations, means, and seconds; None where there is nothing to take a mean of."""

    eligible: int = 0
    covered: int = 0
    autonomous: int = 0
    assisted: int = 0
    human_only: int = 0
    handed: int = 0
    durable: int = 0
    rated_ai: int = 0
    rated_human: int = 0
    csat_ai: float | None = None
    csat_human: float | None = None
    ai_median_s: float | None = None
    ai_p90_s: float | None = None
    human_median_s: float | None = None
    human_p90_s: float | None = None
    messages: float | None = None
    tokens: float | None = None
    thumbs_up: int = 0
    thumbs: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    days: Mapping[date, Outcomes] = field(default_factory=dict)


COUNTS: Final[Sequence[str]] = (
    "eligible", "covered", "autonomous", "assisted", "human_only", "handed", "durable", "rated_ai", "rated_human",
)  # fmt: skip
MEANS: Final[Sequence[str]] = (
    "csat_ai", "csat_human", "ai_median_s", "ai_p90_s", "human_median_s", "human_p90_s", "messages", "tokens",
)  # fmt: skip


def outcomes_of(window: Window) -> Outcomes:
    """Two statements, however many conversations. Runs in a scope that shows the business."""
    parameters: dict[str, Any] = {
        "business": window.business_id,
        "since": window.since,
        "until": window.until,
        "zone": window.zone,
        "bot": window.bot_id,
        "channel": window.channel,
        "durable": DURABLE_FOR,
    }
    with connection.cursor() as cursor:
        cursor.execute(OUTCOMES, parameters)
        names = [column.name for column in cursor.description]
        rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        cursor.execute(VERDICTS, parameters)
        thumbs_up, thumbs = cursor.fetchone()
    whole = next((row for row in rows if row["is_whole"]), None)
    if whole is None:
        return Outcomes()
    return Outcomes(
        **_figures(whole),
        thumbs_up=thumbs_up,
        thumbs=thumbs,
        reasons={row["reason"]: row["handed"] for row in rows if row["reason"] is not None and not row["is_day"]},
        days={row["day"]: Outcomes(**_figures(row)) for row in rows if row["is_day"]},
    )


def _figures(row: Mapping[str, Any]) -> dict[str, Any]:
    means = {name: None if row[name] is None else float(row[name]) for name in MEANS}
    return {**{name: row[name] for name in COUNTS}, **means}
