"""The masking of a conversation's jobs: what a job may hold, what is stored of it, what its readers see."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from django.db import connection

from chats.masking.mask import Mask, restore, restore_calls
from chats.models import Bot, Conversation, MaskedValue
from chats.policies import Policy
from chats.prompts import ChatMessage
from mia.lib.personal_data import PLACEHOLDER
from miners.models import Job

Hidden = TypeVar("Hidden")

# One question of a conversation at a time numbers what is new in it.
LOCK: Final = "SELECT pg_advisory_xact_lock(%s, %s)"
LOCK_CLASS: Final = 0x4D49
# The countries of languages that are spoken in one more than elsewhere; others need a +, or a country in the rules.
REGIONS: Final = {
    "en": "US",
    "de": "DE",
    "fr": "FR",
    "es": "ES",
    "it": "IT",
    "pt": "PT",
    "nl": "NL",
    "pl": "PL",
    "ja": "JP",
    "sv": "SE",
    "da": "DK",
    "fi": "FI",
    "cs": "CZ",
    "tr": "TR",
    "ru": "RU",
    "ko": "KR",
    "zh": "CN",
    "el": "GR",
}


def mask_of(conversation: Conversation, bot: Bot, policy: Policy) -> Mask | None:
    """The conversation's map so far; None where every miner that may answer is trusted with personal data.

    One statement for a conversation that is not new.
    """
    if not policy.masks(bot.business.min_trust):
        return None
    return Mask(
        values={} if conversation._state.adding else _stored(conversation),
        names=[*policy.rules.names, *_names_of(conversation)],
        region=policy.rules.phone_region or region_of(bot.business.locale),
    )


def settle(mask: Mask, conversation: Conversation, hide: Callable[[Mask], Hidden]) -> Hidden:
    """What `hide` makes with the map; made again where another question of the conversation numbered data meanwhile.

    Three statements where something is new in a conversation, none otherwise.
    """
    before = dict(mask.values)
    hidden = hide(mask)
    if not mask.added or conversation._state.adding:
        return hidden
    with connection.cursor() as cursor:
        cursor.execute(LOCK, [LOCK_CLASS, conversation.pk % 2**31])
    stored = _stored(conversation)
    if stored == before:
        return hidden
    mask.start_from(stored)
    return hide(mask)


def mask_messages(mask: Mask, messages: Sequence[ChatMessage]) -> list[dict[str, Any]]:
    """The prompt as a miner may read it: in the business's own words only what is known of visitors is hidden.

    The newest come first and the facts last, so that what the talk gave away is hidden in these too.
    """
    talk = [_masked(mask, message) for message in messages if message["role"] != "system"]
    told = [message for message in messages if message["role"] == "system"]
    return [*({**message, "content": mask.hide_known(message["content"])} for message in told), *talk]


def keep(mask: Mask | None, conversation: Conversation, now: datetime) -> None:
    """Stores what is new in the map, once the conversation is in the database. One statement, or none."""
    if mask is not None and mask.added:
        MaskedValue.objects.bulk_create(
            MaskedValue(
                business_id=conversation.business_id,
                conversation=conversation,
                placeholder=placeholder,
                value=value,
                created_at=now,
            )
            for placeholder, value in mask.added.items()
        )
        mask.added.clear()


def values_of(job: Job, conversation_id: int | None = None) -> dict[str, str]:
    """What the placeholders in a job's answer stand for; {} without a statement where it holds none."""
    if not _holds_placeholders(job):
        return {}
    known = MaskedValue.objects.for_business(job.business_id).known_at(job.created_at)
    theirs = known.filter(conversation=conversation_id) if conversation_id else known.filter(**_of_topic(job.topic))
    return dict(theirs.values_list("placeholder", "value"))


def output_of(job: Job) -> str:
    """A job's answer as its visitor may see it."""
    return restore(job.output, values_of(job))


def calls_of(job: Job) -> list[Any]:
    calls = job.tool_calls or []
    return restore_calls(calls, values_of(job)) if calls else []


def region_of(locale: str) -> str:
    language, _, region = locale.replace("_", "-").partition("-")
    return region.upper() if len(region) == 2 else REGIONS.get(language.lower(), "")


def _masked(mask: Mask, message: ChatMessage) -> dict[str, Any]:
    hidden: dict[str, Any] = {**message, "content": mask.hide(message["content"])}
    if calls := message.get("tool_calls"):
        hidden["tool_calls"] = mask.hide_in_calls(calls)
    return hidden


def _stored(conversation: Conversation) -> dict[str, str]:
    stored = MaskedValue.objects.for_business(conversation.business_id).filter(conversation=conversation)
    return dict(stored.values_list("placeholder", "value"))


def _names_of(conversation: Conversation) -> list[str]:
    """The visitor's own name, whole and in its parts, and address."""
    name = conversation.visitor_name.strip()
    parts = [part for part in name.split() if len(part) > 2]
    return [text for text in (name, *parts, conversation.visitor_email) if text]


def _holds_placeholders(job: Job) -> bool:
    return bool(PLACEHOLDER.search(job.output) or (job.tool_calls and PLACEHOLDER.search(str(job.tool_calls))))


def _of_topic(topic: str) -> Mapping[str, Any]:
    return {"conversation__public_id": topic.partition(":")[2]}
