"""Who is asking: one shape for keys, dashboard tokens, miners and staff."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from django.db import models
from django.utils.translation import gettext_lazy as _

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import User


class PrincipalKind(models.TextChoices):
    """What sort of credential was shown."""

    PUBLISHABLE = "publishable", _("Widget")
    SECRET = "secret", _("Business server")
    CLIENT = "client", _("API client")
    DASHBOARD = "dashboard", _("Dashboard")
    MINER = "miner", _("Miner")
    STAFF = "staff", _("Staff")


@dataclass(frozen=True)
class Principal:
    """The holder of a verified credential; `request.user` of every API view.

    `key_id` is the ApiKey of a business key and the Miner of a miner key. `business_ids` holds the businesses of a
    staff member, and the one of everybody else; a miner and a superuser have none, and are not confined to any.
    """

    kind: PrincipalKind
    business_id: int | None = None
    key_id: int | None = None
    claims: Mapping[str, object] = field(default_factory=dict)
    allowed_origins: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    business_ids: tuple[int, ...] = ()
    user_id: int | None = None
    label: str = ""

    is_authenticated = True
    is_anonymous = False
    is_active = True

    def may(self, scope: str | None) -> bool:
        """Whether a key that was narrowed reaches this; one that was not reaches everything of its kind."""
        return not self.scopes or scope in self.scopes

    @property
    def pk(self) -> str:
        """What DRF's throttles and the logs tell principals apart by; names no secret."""
        return f"{self.kind}:{self.key_id or self.user_id or self.business_id}"

    def __str__(self) -> str:
        return self.label or self.pk


def visible_business_ids(viewer: User | AnonymousUser | Principal) -> tuple[int, ...] | None:
    """The businesses a viewer may see, or None for all of them."""
    if isinstance(viewer, Principal):
        return _ids_of_principal(viewer)
    if not viewer.is_authenticated or not viewer.is_active:
        return ()
    if viewer.is_superuser:
        return None
    return viewer.business_ids()


def _ids_of_principal(principal: Principal) -> tuple[int, ...] | None:
    if principal.business_id is not None:
        return (principal.business_id,)
    if principal.kind == PrincipalKind.MINER:
        return None
    if principal.kind == PrincipalKind.STAFF and principal.claims.get("superuser") is True:
        return None
    return principal.business_ids


def principal_of_user(user: User) -> Principal:
    """A member of staff, for API views that take the admin's session."""
    return Principal(
        kind=PrincipalKind.STAFF,
        user_id=user.pk,
        business_ids=() if user.is_superuser else user.business_ids(),
        claims=MappingProxyType({"superuser": user.is_superuser}),
        label=str(user),
    )
