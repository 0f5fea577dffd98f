"""The admin's first page: for platform staff the network, for business staff their customers."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils import timezone

from accounts.permissions import Right, has_right
from accounts.scoped_admin import user_of
from mia.admin.network import platform_overview
from mia.admin.support import business_overview


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """What the settings name as the index's callback."""
    user = user_of(request)
    now = timezone.now()
    if user.is_superuser:
        context["overview"] = platform_overview(user, now)
    elif has_right(user, Right.READ):
        context["overview"] = business_overview(user, now)
    return context
