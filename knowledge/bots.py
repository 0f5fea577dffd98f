"""The bots that are taught: an app above knows them, this one asks by the setting BOT_DIRECTORY."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import cast

from django.conf import settings
from django.utils.module_loading import import_string

Directory = Callable[[Iterable[int] | None], dict[int, tuple[int, str]]]


def names_of_bots(business_ids: Iterable[int] | None = None) -> dict[int, tuple[int, str]]:
    """By id: the business and the name of each bot of these businesses, or of all in the present scope."""
    directory = cast("Directory", import_string(settings.BOT_DIRECTORY))
    return directory(business_ids)


def is_bot_of(bot_id: int | None, *, business_id: int) -> bool:
    """Whether a source may be meant for this bot; None is every bot of the business."""
    return bot_id is None or bot_id in names_of_bots([business_id])
