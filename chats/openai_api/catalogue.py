"""Which names a `model` may have: bots of the business, models that miners offer, the platform's embedder."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from accounts.principals import Principal
from chats.access import access_bot
from chats.models import Bot
from chats.openai_api.errors import ModelNotFound
from knowledge.embeddings.registry import default_embedder
from mia.lib.errors import NotFound
from miners.choices import Lane, Trust
from miners.models import Miner

BOT: Final = "bot"
BOT_PREFIX: Final = f"{BOT}:"
OWNER: Final = "mia"


@dataclass(frozen=True)
class Listed:
    """A name that may be asked for; `created` in Unix time."""

    id: str
    name: str
    created: int

    def as_dict(self) -> dict[str, Any]:
        return {"id": self.id, "object": "model", "created": self.created, "owned_by": OWNER, "name": self.name}


def listed(principal: Principal, *, min_trust: int, now: datetime) -> list[Listed]:
    """Everything this credential may name. Two statements."""
    models = [Listed(name, name, 0) for name in network_models(min_trust=min_trust, now=now)]
    embedder = default_embedder().model.name
    return [*_bots(principal), *models, Listed(embedder, embedder, 0)]


def find(principal: Principal, model: str, *, min_trust: int, now: datetime) -> Listed:
    """Raises ModelNotFound."""
    found = next((one for one in listed(principal, min_trust=min_trust, now=now) if one.id == model), None)
    if found is None:
        raise ModelNotFound
    return found


def bot_named(principal: Principal, model: str) -> Bot | None:
    """The bot that a model's name means, None for a raw model; raises ModelNotFound."""
    if model != BOT and not model.startswith(BOT_PREFIX):
        return None
    number = model.removeprefix(BOT).removeprefix(":")
    is_id = number.isascii() and number.isdigit() and len(number) <= 18
    if not (is_id or model == BOT):
        raise ModelNotFound
    try:
        return access_bot(principal, int(number) if number else None)
    except NotFound as error:
        raise ModelNotFound from error


def network_models(*, min_trust: int, now: datetime) -> list[str]:
    """What miners that are online offer to this API, each once."""
    able = Miner.objects.online(now).filter(trust__gte=max(min_trust, Trust.VERIFIED), lanes__contains=[Lane.API])
    names = {name for names in able.values_list("model_ids", flat=True) for name in names}
    return sorted(names)


def _bots(principal: Principal) -> Iterable[Listed]:
    for bot in Bot.objects.for_business(principal.business_id).active().default_first():
        yield Listed(f"{BOT_PREFIX}{bot.pk}", bot.name, int(bot.created_at.timestamp()))
