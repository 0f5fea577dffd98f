"""Names instead of ids in the admin: rows here know their bot and their business by a number alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from accounts.models import Business
from accounts.scoped_admin import column
from knowledge.bots import names_of_bots
from mia.lib import phrases


def name_rows(rows: Iterable[Any]) -> list[Any]:
    """The same rows, each with the names of its bot and its business: two queries for a page."""
    named = list(rows)
    business_ids = {row.business_id for row in named}
    bots = names_of_bots(business_ids) if named else {}
    businesses = dict(Business.objects.filter(pk__in=business_ids).values_list("pk", "name")) if named else {}
    for row in named:
        bot_id = getattr(row, "bot_id", None)
        row.bot_name = str(_("every bot")) if bot_id is None else bots.get(bot_id, (0, phrases.NOTHING))[1]
        row.business_name = businesses.get(row.business_id, phrases.NOTHING)
    return named


class NamedRowsMixin:
    """For a ModelAdmin: lists `whom` and `business` as words."""

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        changes = super().get_changelist_instance(request)  # type: ignore[misc]
        changes.result_list = name_rows(changes.result_list)
        return changes

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Any:
        row = super().get_object(request, object_id, from_field)  # type: ignore[misc]
        return row if row is None else name_rows([row])[0]

    @column(description=_("for"))
    def whom(self, row: Any) -> str:
        return str(getattr(row, "bot_name", phrases.NOTHING))

    @column(description=_("business"))
    def business(self, row: Any) -> str:
        return str(getattr(row, "business_name", phrases.NOTHING))
