"""Which database holds what businesses have taught: the common one, or one of its own."""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model

APP: Final = "knowledge"
OWN_ALIAS: Final = "knowledge"


def alias() -> str:
    """The name under which Django knows the database of the app's tables."""
    return OWN_ALIAS if OWN_ALIAS in settings.DATABASES else DEFAULT_DB_ALIAS


def connection() -> BaseDatabaseWrapper:
    """This thread's connection to it; scopes of `accounts.tenancy` are in force there as everywhere."""
    return connections[alias()]


class KnowledgeRouter:
    """Sends the app's tables, and nothing else, to the database that KNOWLEDGE_DATABASE_URL names, if it names one."""

    def db_for_read(self, model: type[Model], **_hints: object) -> str | None:
        return alias() if model._meta.app_label == APP else None

    def db_for_write(self, model: type[Model], **_hints: object) -> str | None:
        return self.db_for_read(model)

    def allow_relation(self, one: Model, other: Model, **_hints: object) -> bool | None:
        """Only among ourselves: a row of another app may be in another database tomorrow."""
        sides = {one._meta.app_label, other._meta.app_label}
        return None if APP not in sides else sides == {APP}

    def allow_migrate(self, db: str, app_label: str, **_hints: object) -> bool | None:
        if app_label == APP:
            return db == alias()
        return False if db == OWN_ALIAS else None
