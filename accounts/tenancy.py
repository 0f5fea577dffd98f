"""The walls between businesses: database scopes, and the base classes of every tenant table.

PostgreSQL row-level security reads two settings, which exist only inside a transaction. Without them a tenant
table shows no row and takes none, whatever the query, so a forgotten scope is an empty page and never a leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models, transaction
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

    def apply(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(SET_SCOPE_SQL, [self.business_ids, self.platform])


NOTHING = Scope()


def _in_force() -> Scope:
    """The scope of this thread's connection, as the nesting of `with` blocks has it; PostgreSQL need not be asked."""
    scope: Scope = getattr(connection, "mia_scope", NOTHING)
    return scope


def _note(scope: Scope) -> None:
    connection.mia_scope = scope  # type: ignore[attr-defined]


@contextmanager
def _opened(scope: Scope) -> Iterator[None]:
    if connection.in_atomic_block:
        with _changed_to(scope):
            yield
        return
    with transaction.atomic():
        scope.apply()
        _note(scope)
        try:
            yield
        finally:
            _note(NOTHING)


@contextmanager
def _changed_to(scope: Scope) -> Iterator[None]:
    """Another scope for a part of the current transaction; no savepoint: to undo it alone, see `undoable`."""
    previous = _in_force()
    if previous == scope:
        yield
        return
    scope.apply()
    _note(scope)
    try:
        yield
    finally:
        _note(previous)
        # After an error the rollback itself restores the settings, and a doomed transaction takes no statement.
        if not _is_doomed():
            previous.apply()


def undoable() -> AbstractContextManager[None]:
    """Stands before a scope whose work may be undone alone: a savepoint inside a transaction.

    Outside of one it is nothing, as the scope opens a transaction itself; that saves a request one statement.
    """
    return transaction.atomic() if connection.in_atomic_block else nullcontext()


def _is_doomed() -> bool:
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
