"""django-rq's pages of the task queues, for superusers: business staff may open the admin, and must not see these."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django_rq.urls import get_admin_urlpatterns

View = Callable[..., HttpResponse]
app_name = "django_rq"


def for_superusers(view: View) -> View:
    """The view behind the admin's login, and behind a refusal for everybody but superusers."""

    @wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if not request.user.is_superuser:
            raise PermissionDenied
        return view(request, *args, **kwargs)

    return admin.site.admin_view(guarded)


# Without django-rq's JSON statistics, which any staff may read: our own metrics have them.
urlpatterns = get_admin_urlpatterns(view_wrapper=for_superusers)
