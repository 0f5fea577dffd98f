"""What the tables hold, as one digest per table: cheap enough to look after every step of a sweep."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import psycopg
from django.db import connection

from accounts.models import Business
from mia.tests.sweep.world import Owner, World, tenant_models

VOLATILE: Final = ("last_used_at",)
"""Columns that only say that somebody came by."""

Prints = dict[str, str]


@dataclass(frozen=True)
class Rows:
    """Some rows of one table."""

    name: str
    table: str
    where: str = "true"

    @property
    def sql(self) -> str:
        volatile = "{" + ",".join(VOLATILE) + "}"
        return (
            f"SELECT '{self.name}', md5(coalesce(string_agg(j::text, '|' ORDER BY j::text), '')) FROM "
            f"(SELECT to_jsonb(t) - '{volatile}'::text[] AS j FROM {self.table} t WHERE {self.where}) rows"
        )


class Watch:
    """A connection of its own, in platform scope, that tells which of the watched rows have changed."""

    def __init__(
        self, database: psycopg.Connection[tuple[str, str]], protected: list[Rows], everything: list[Rows]
    ) -> None:
        self._database = database
        self._protected = " UNION ALL ".join(rows.sql for rows in protected)
        self._everything = " UNION ALL ".join(rows.sql for rows in everything)
        self.untouched = self.protected()

    def protected(self) -> Prints:
        return dict(self._database.execute(self._protected).fetchall())

    def everything(self) -> Prints:
        return dict(self._database.execute(self._everything).fetchall())

    def touched(self) -> list[str]:
        """The protected rows that changed since the last look."""
        now = self.protected()
        changed = differing(self.untouched, now)
        self.untouched = now
        return changed


def differing(before: Prints, after: Prints) -> list[str]:
    return sorted(name for name in before | after if before.get(name) != after.get(name))


@contextmanager
def watching(world: World) -> Iterator[Watch]:
    given = connection.get_connection_params()
    names = ("dbname", "user", "password", "host", "port")
    parameters = {name: given[name] for name in names if given.get(name)}
    with psycopg.connect(**parameters, autocommit=True, options="-c app.platform=on") as database:
        tables = database.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1").fetchall()
        everything = [Rows(table, f'"{table}"') for (table,) in tables]
        yield Watch(database, protected_rows(world), everything)


def protected_rows(world: World) -> list[Rows]:
    """All of B, the other visitor's conversation and the other miner's job."""
    rows = [
        Rows(f"B: {model.__name__}", model._meta.db_table, business_is(model, world.b)) for model in tenant_models()
    ]
    rows += [
        Rows(f"V: {model.__name__}", model._meta.db_table, f"{model._meta.pk.column} = '{row.pk}'")
        for model, row in world.v.rows.items()
        if row is not world.a.rows.get(model)
    ]
    people = ",".join(str(person.pk) for person in world.b.people)
    held = f"'{world.held_job.pk}'"
    return [
        *rows,
        Rows("B: people", "accounts_user", f"id IN ({people})"),
        Rows("M: miner", "miners_miner", f"id = {world.other_miner.pk}"),
        Rows("M: job", "miners_job", f"id = {held}"),
        Rows("M: attempt", "miners_attempt", f"job_id = {held}"),
    ]


def business_is(model: type, owner: Owner) -> str:
    column = "id" if model is Business else "business_id"
    return f"{column} = {owner.business.pk}"
