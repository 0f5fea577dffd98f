"""The site class: the pages beside the tables' own, and a search that stays within what the user may see."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.dataclasses import SearchResult

from mia.admin.analytics import analytics_page
from mia.admin.menu import navigation
from miners.admin_live import live_page

if TYPE_CHECKING:
    from django.contrib.admin import AdminSite as UnfoldAdminSite
else:
    from unfold.sites import UnfoldAdminSite

FOUND_PER_TABLE: Final = 8
MIN_TERM_CHARS: Final = 2
SEARCHED: Final = {
    "chats.conversation": "forum",
    "chats.lead": "contact_mail",
    "chats.bot": "smart_toy",
    "miners.job": "bolt",
    "miners.miner": "memory",
    "accounts.membership": "group",
    "accounts.business": "storefront",
    "accounts.user": "person",
}
"""The tables that the search looks into, and their icons."""


class MiaAdminSite(UnfoldAdminSite):
    """The admin."""

    index_title = "Overview"

    def extra_urls(self) -> list[URLPattern]:
        return [
            path("analytics/", self.admin_view(analytics_page), name="analytics"),
            path("network/live/", self.admin_view(live_page), name="network_live"),
            path("r/<path:content_type_id>/<path:object_id>/", self.admin_view(no_such_page), name="view_on_site"),
        ]

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Pages by name, and with `extended` rows too; remembered by nobody, since what may be seen can change."""
        started = time.monotonic()
        term = request.GET.get("s", "").strip()[:100]
        if not term:
            return HttpResponse()
        is_extended = "extended" in request.GET
        found = self._pages(request, term)
        if is_extended and len(term) >= MIN_TERM_CHARS:
            found += self._rows(request, term)
        paginator = Paginator(found, 100)
        return TemplateResponse(
            request,
            "unfold/helpers/command_results.html" if is_extended else "unfold/helpers/search_results.html",
            {
                "page_obj": paginator,
                "results": paginator.get_page(1),
                "page_counter": 0,
                "execution_time": time.monotonic() - started,
                "command_show_history": False,
            },
            headers={"HX-Trigger": "search", "Cache-Control": "no-store"},
        )

    def _pages(self, request: HttpRequest, term: str) -> list[SearchResult]:
        term = term.casefold()
        return [
            SearchResult(
                title=str(item["title"]), description=str(group["title"]), link=str(item["link"]), icon=item["icon"]
            )
            for group in navigation(request)
            for item in group["items"]
            if term in f"{item['title']} {group['title']}".casefold()
        ]

    def _rows(self, request: HttpRequest, term: str) -> list[SearchResult]:
        found: list[SearchResult] = []
        for model, model_admin in self._registry.items():
            icon = SEARCHED.get(model._meta.label_lower)
            if icon is None or not model_admin.has_view_permission(request):
                continue
            rows, _may_repeat = model_admin.get_search_results(request, model_admin.get_queryset(request), term)
            name = f"admin:{model._meta.app_label}_{model._meta.model_name}_change"
            found += [
                SearchResult(
                    title=str(row),
                    description=str(model._meta.verbose_name),
                    link=reverse(name, args=[row.pk]),
                    icon=icon,
                )
                for row in rows[:FOUND_PER_TABLE]
            ]
        return found


def no_such_page(request: HttpRequest, content_type_id: str, object_id: str) -> HttpResponse:
    """In place of Django's way from a row to its public page: no row has one, and odd ids would be a 500 there."""
    raise Http404
