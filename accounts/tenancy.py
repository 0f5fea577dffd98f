"""The walls between businesses: database scopes, and the base classes of every tenant table.

PostgreSQL row-level security reads two settings, which exist only inside a transaction. Without them a tenant
table shows no row and takes none, whatever the query, so a forgotten scope is an empty page and never a leak.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from django.db import connection, models, transaction
from django.utils.translation import gettext_lazy as _
from typing_extensions import TypeVar

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import Business, User
    from accounts.principals import Principal

READ_SCOPE_SQL = "SELECT current_setting('app.business_ids', true), current_setting('app.platform', true)"
SET_SCOPE_SQL = "SELECT set_config('app.business_ids', %s, true), set_config('app.platform', %s, true)"


@dataclass(frozen=True)
class Scope:
    """Which businesses the current transaction may see, as PostgreSQL holds it."""

    business_ids: str = ""
    platform: str = ""

    @classmethod
    def read(cls) -> Scope:
        with connection.cursor() as cursor:
            cursor.execute(READ_SCOPE_SQL)
            business_ids, platform = cursor.fetchone()
        return cls(business_ids or "", platform or "")

    def apply(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(SET_SCOPE_SQL, [self.business_ids, self.platform])


@contextmanager
def _opened(scope: Scope) -> Iterator[None]:
    nested = connection.in_atomic_block
    with transaction.atomic():
        previous = Scope.read() if nested else Scope()
        scope.apply()
        yield
        # After an error the rollback itself restores the settings, and a doomed transaction takes no statement.
        if nested and not connection.needs_rollback:
            previous.apply()


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
