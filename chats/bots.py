"""The bots, for the apps below that only know their ids."""

from __future__ import annotations

from collections.abc import Iterable

from chats.models import Bot


def names_of_bots(business_ids: Iterable[int] | None = None) -> dict[int, tuple[int, str]]:
    """By id: the business and the name of each bot of these businesses, or of all in the present scope."""
    bots = Bot.objects.all() if business_ids is None else Bot.objects.filter(business_id__in=list(business_ids))
    return {pk: (business_id, name) for pk, business_id, name in bots.values_list("pk", "business_id", "name")}
