"""Who may do what: kinds of principals for the API, roles of members for the admin and its sockets."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from accounts.choices import Role
from accounts.models import User
from accounts.principals import Principal

if TYPE_CHECKING:  # DRF's settings import this module while `rest_framework.views` is being imported.
    from rest_framework.views import APIView


class Right(StrEnum):
    """What a role allows in its business."""

    READ = "read"
    WORK = "work"
    MANAGE = "manage"
    OWN = "own"


RIGHTS: dict[Role, frozenset[Right]] = {
    Role.OWNER: frozenset({Right.READ, Right.WORK, Right.MANAGE, Right.OWN}),
    Role.ADMIN: frozenset({Right.READ, Right.WORK, Right.MANAGE}),
    Role.AGENT: frozenset({Right.READ, Right.WORK}),
    Role.VIEWER: frozenset({Right.READ}),
}
"""Reading shows everything of the business; working is answering its customers; managing is its bots, members, keys and
settings; owning is making and unmaking owners."""


def has_right(user: User, right: Right, business_id: int | None = None) -> bool:
    """Whether a user has a right in one business, or, without one, in any."""
    if not user.is_active or not user.is_staff:
        return False
    if user.is_superuser:
        return True
    if business_id is not None:
        role = user.roles.get(business_id)
        return role is not None and right in RIGHTS[role]
    return any(right in RIGHTS[role] for role in user.roles.values())


def businesses_with(user: User, right: Right) -> tuple[int, ...] | None:
    """The businesses in which a user has a right; None means all."""
    if user.is_superuser:
        return None
    return tuple(sorted(business_id for business_id, role in user.roles.items() if right in RIGHTS[role]))


class HasAllowedKind(BasePermission):
    """Lets in the kinds of principals that a view names, with keys that reach it; naming none lets nobody in."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        user: object = request.user
        if not isinstance(user, Principal):
            return getattr(view, "allow_anonymous", False) is True
        return user.kind in getattr(view, "allowed_kinds", ()) and user.may(getattr(view, "key_scope", None))
