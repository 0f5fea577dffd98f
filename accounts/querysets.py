"""Which rows of the accounts tables."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

from django.db import models
from django.db.models import Q

from accounts.tenancy import TenantQuerySet

if TYPE_CHECKING:
    from django.contrib.auth.models import AnonymousUser

    from accounts.models import ApiKey, Business, Invitation, User  # noqa: F401
    from accounts.principals import Principal


class BusinessQuerySet(models.QuerySet["Business"]):
    """Businesses; the tenant table whose own key is the tenant."""

    def visible_to(self, viewer: User | AnonymousUser | Principal) -> Self:
        from accounts.principals import visible_business_ids

        business_ids = visible_business_ids(viewer)
        return self if business_ids is None else self.filter(pk__in=business_ids)


class ApiKeyQuerySet(TenantQuerySet["ApiKey"]):
    """Keys of businesses."""

    def live(self, now: datetime) -> Self:
        return self.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), revoked_at__isnull=True)

    def with_prefix(self, prefix: str) -> Self:
        return self.filter(prefix=prefix)

    def serving_origin(self, origin: str) -> Self:
        return self.filter(kind="publishable", allowed_origins__contains=[origin])

    def unused_since(self, moment: datetime) -> Self:
        return self.filter(Q(last_used_at__isnull=True) | Q(last_used_at__lt=moment))


class InvitationQuerySet(TenantQuerySet["Invitation"]):
    """Invitations to join a business."""

    def waiting(self) -> Self:
        return self.filter(accepted_at__isnull=True)

    def expired(self, now: datetime) -> Self:
        return self.waiting().filter(expires_at__lte=now)
