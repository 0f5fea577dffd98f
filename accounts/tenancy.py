"""The walls between businesses: database scopes, and the base classes of every tenant table.

PostgreSQL row-level security reads two settings, which exist only inside a transaction. Without them a tenant
table shows no row and takes none, whatever the query, so a forgotten scope is an empty page and never a leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.db import connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils.translation import gettext_lazy as _
from psycopg import ServerCursor
from psycopg.pq import TransactionStatus
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import Business, User
    from accounts.principals import Principal

NO_STATEMENT_YET = TransactionStatus.IDLE
BACK_TO = "ROLLBACK TO "


@dataclass(frozen=True)
class Scope:
    """Which businesses the current transaction may see, as PostgreSQL holds it."""

    business_ids: str = ""
    platform: str = ""

    @property
    def statement(self) -> str:
        """Its literals are numbers, commas and braces of our own making."""
        return f"SELECT set_config('app.business_ids', '{self.business_ids}', true), set_config('app.platform', '{self.platform}', true)"  # noqa: E501


NOTHING = Scope()


class Wall:
    """Tells one connection's PostgreSQL the scope in force, in front of the first statement that it matters to.

    Django calls it around each statement. Fused with that statement the settings cost no round trip of their own;
    a scope that nothing is asked in, or that is already in force, costs nothing at all.
    """

    def __init__(self) -> None:
        self.wanted = NOTHING
        self._told = NOTHING
        self._told_at: dict[str, Scope] = {}

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        link = context["connection"].connection
        if link is None or link.info.transaction_status == NO_STATEMENT_YET:
            self._told, self._told_at = NOTHING, {}  # The settings end with their transaction.
        if sql.startswith(BACK_TO):
            result = execute(sql, params, many, context)
            self._told = self._told_at.get(sql.removeprefix(BACK_TO), NOTHING)
            return result
        if self.wanted != self._told:
            result = self._tell_and_execute(execute, sql, params, many, context)
        else:
            result = execute(sql, params, many, context)
        if sql.startswith("SAVEPOINT"):
            self._told_at[sql] = self._told
        return result

    def _tell_and_execute(self, execute: Any, sql: str, params: Any, many: bool, context: dict[str, Any]) -> Any:
        before, self._told = self._told, self.wanted
        cursor = context["cursor"].cursor
        try:
            if many or isinstance(cursor, ServerCursor):
                with context["connection"].cursor() as own:
                    own.execute(self.wanted.statement)
                return execute(sql, params, many, context)
            result = execute(f"{self.wanted.statement}; {sql}", params, many, context)
            cursor.nextset()
        except BaseException:
            self._told = before
            raise
        return result


def raise_wall(sender: object, connection: BaseDatabaseWrapper, **_: Any) -> None:
    """Receives `connection_created`: each connection has one wall for good, however often it connects anew."""
    if not any(isinstance(wrapper, Wall) for wrapper in connection.execute_wrappers):
        connection.execute_wrappers.append(Wall())


def _wall_of(alias: str) -> Wall:
    connections[alias].ensure_connection()
    return next(wrapper for wrapper in connections[alias].execute_wrappers if isinstance(wrapper, Wall))


@contextmanager
def _opened(scope: Scope) -> Iterator[None]:
    """The scope in every database; a transaction in those that have none open yet.

    Inside of one the scope is for a part of it, and no savepoint: to undo it alone, see `undoable`.
    """
    with ExitStack() as stack:
        for alias in connections:
            if not connections[alias].in_atomic_block:
                stack.enter_context(transaction.atomic(using=alias))
        walls = [_wall_of(alias) for alias in connections]
        previous = [wall.wanted for wall in walls]
        for wall in walls:
            wall.wanted = scope
        try:
            yield
        finally:
            for wall, scope_before in zip(walls, previous, strict=True):
                wall.wanted = scope_before


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
