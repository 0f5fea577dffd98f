"""The walls between businesses: database scopes, and the base classes of every tenant table.

PostgreSQL row-level security reads two settings, which exist only inside a transaction. Without them a tenant
table shows no row and takes none, whatever the query, so a forgotten scope is an empty page and never a leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.db import DEFAULT_DB_ALIAS, connections, models, transaction
from django.utils.translation import gettext_lazy as _
from psycopg.pq import TransactionStatus
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import Business, User
    from accounts.principals import Principal

SET_SCOPE_SQL = "SELECT set_config('app.business_ids', %s, true), set_config('app.platform', %s, true)"


@dataclass(frozen=True)
class Scope:
    """Which businesses the current transaction may see, as PostgreSQL holds it."""

    business_ids: str = ""
    platform: str = ""

    def apply(self, alias: str = DEFAULT_DB_ALIAS) -> None:
        with connections[alias].cursor() as cursor:
            cursor.execute(SET_SCOPE_SQL, [self.business_ids, self.platform])


NOTHING = Scope()


def _in_force(alias: str) -> Scope:
    """The scope of this thread's connection, as the nesting of `with` blocks has it; PostgreSQL need not be asked."""
    scope: Scope = getattr(connections[alias], "mia_scope", NOTHING)
    return scope


def _note(alias: str, scope: Scope) -> None:
    connections[alias].mia_scope = scope  # type: ignore[attr-defined]


@contextmanager
def _opened(scope: Scope) -> Iterator[None]:
    """The scope in every database that holds rows of tenants: with one database, in that one alone."""
    with ExitStack() as stack:
        for alias in connections:
            stack.enter_context(_opened_in(alias, scope))
        yield


@contextmanager
def _opened_in(alias: str, scope: Scope) -> Iterator[None]:
    if connections[alias].in_atomic_block:
        with _changed_to(alias, scope):
            yield
        return
    with transaction.atomic(using=alias):
        scope.apply(alias)
        _note(alias, scope)
        try:
            yield
        finally:
            _note(alias, NOTHING)


@contextmanager
def _changed_to(alias: str, scope: Scope) -> Iterator[None]:
    """Another scope for a part of the current transaction; no savepoint: to undo it alone, see `undoable`."""
    previous = _in_force(alias)
    if previous == scope:
        yield
        return
    scope.apply(alias)
    _note(alias, scope)
    try:
        yield
    finally:
        _note(alias, previous)
        # After an error the rollback itself restores the settings, and a doomed transaction takes no statement.
        if not _is_doomed(alias):
            previous.apply(alias)


@contextmanager
def undoable() -> Iterator[None]:
    """Stands before a scope whose work may be undone alone: a savepoint inside a transaction.

    Outside of one it is nothing, as the scope opens a transaction itself; that saves a request one statement.
    """
    with ExitStack() as stack:
        for alias in connections:
            if connections[alias].in_atomic_block:
                stack.enter_context(transaction.atomic(using=alias))
        yield


def _is_doomed(alias: str) -> bool:
    connection = connections[alias]
    status = connection.connection.info.transaction_status
    return connection.needs_rollback or status != TransactionStatus.INTRANS


@contextmanager
def business_scope(*business_ids: int) -> Iterator[None]:
    """A transaction that sees the rows of these businesses and no other; of none, when none is named."""
    literal = "{" + ",".join(str(int(business_id)) for business_id in business_ids) + "}"
    with _opened(Scope(business_ids=literal)):
        yield


@contextmanager
def platform_scope() -> Iterator[None]:
    """A transaction that sees every business: for dispatch, billing, commands and superusers, never for a tenant."""
    with _opened(Scope(platform="on")):
        yield


@contextmanager
def no_scope() -> Iterator[None]:
    """A transaction that sees no business at all, even inside another scope."""
    with _opened(Scope()):
        yield


Row = TypeVar("Row", bound=models.Model, covariant=True, default=Any)


class TenantQuerySet(models.QuerySet[Row]):
    """Which rows of a tenant table someone may see."""

    def for_business(self, business: Business | int) -> Self:
        return self.filter(business_id=getattr(business, "pk", business))

    def visible_to(self, viewer: User | AnonymousUser | Principal) -> Self:
        """All rows for a superuser or a platform principal, those of their own businesses for the rest."""
        from accounts.principals import visible_business_ids

        business_ids = visible_business_ids(viewer)
        return self if business_ids is None else self.filter(business_id__in=business_ids)


class TenantModel(models.Model):
    """A row that belongs to one business.

    Its first migration puts its table under forced row-level security, and it names its manager, at the least
    `objects = TenantQuerySet["Row"].as_manager()`; a test holds both.
    """

    business = models.ForeignKey("accounts.Business", on_delete=models.CASCADE, verbose_name=_("business"))

    class Meta:
        abstract = True


class DetachedTenantModel(models.Model):
    """A row that belongs to one business by its id alone, because its table may be in another database.

    The same walls stand around it; but that it goes with its business is the work of its app, and not of a foreign key.
    """

    business_id = models.BigIntegerField(_("business"), editable=False)

    class Meta:
        abstract = True
