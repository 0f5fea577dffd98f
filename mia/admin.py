"""The admin site: one for everybody, showing each role its own."""

from typing import Any

from django.http import HttpRequest
from unfold.sites import UnfoldAdminSite


class MiaAdminSite(UnfoldAdminSite):
    """The admin."""


def environment_label(request: HttpRequest) -> list[str] | None:
    return None


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    return context


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    return []
