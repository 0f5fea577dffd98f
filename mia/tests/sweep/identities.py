"""Everybody who comes to look: what they send to be known, what they may see, and whose ids they try."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from accounts.models import ApiKey, User
from chats.models import Bot, ChatLog, Conversation
from knowledge.models import Source, TrainingJob, UploadedFile
from mia.tests.sweep.world import FOREIGN_ORIGIN, ORIGIN, Owner, World, links, tenant_models
from miners.models import Attempt, Job, Miner

CSRF = "c" * 32
TOLD_TO_VISITORS = re.compile(
    r"canary-a-(chats\.bot-(name|first_message|confirmation_message|title)|chats\.b|accounts?"
    r"|chats\.chatlog-(message|author_name|citations|tool_calls)|miners\.job-(output|tool_calls|finish_reason)?)"
)
TOLD_TO_MINERS = re.compile(
    r"canary-a-(chats\.bot-(name|role|tone|business_description|instructions)|chats\.b|chats\.chatlog-(message|tool_calls))"
)
"""The words of a conversation and of its bot's prompt: nothing that names the business or the visitor."""

TOLD_TO_API_CLIENTS = re.compile(r"canary-[av]-chats\.bot-name")


@dataclass(frozen=True)
class Identity:
    """Somebody. `may_see` are the letters of the canaries that are theirs to see."""

    name: str
    headers: Mapping[str, str] = field(default_factory=dict)
    may_see: str = ""
    is_visitor: bool = False
    """Whether other visitors of the same business are strangers too."""
    told: re.Pattern[str] | None = None
    """Of what they may see, all that they are ever told; None is everything."""

    def may_be_told(self, token: str) -> bool:
        """Whether a canary, in lower case, is theirs to see."""
        letter = token[len("canary-")].upper()
        return letter in self.may_see and (self.told is None or self.told.fullmatch(token) is not None)

    def victims(self, world: World) -> list[Owner]:
        return [world.b, world.v] if self.is_visitor else [world.b]


def bearer(text: str, **more: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}", **{name.replace("_", "-"): value for name, value in more.items()}}


def identities(world: World) -> dict[str, Identity]:
    own = world.session_token(world.a)
    a, dashboard = world.a, world.dashboard
    everybody = [
        Identity("anonymous", is_visitor=True),
        Identity(
            "visitor",
            bearer(world.keys["publishable"], Origin=ORIGIN, X_Session_Token=own),
            "A",
            is_visitor=True,
            told=TOLD_TO_VISITORS,
        ),
        Identity("another page", bearer(world.keys["publishable"], Origin=FOREIGN_ORIGIN, X_Session_Token=own)),
        Identity(
            "no page",
            bearer(world.keys["publishable"], X_Session_Token=own),
            "A",
            is_visitor=True,
            told=TOLD_TO_VISITORS,
        ),
        Identity("server", bearer(world.keys["secret"]), "AV"),
        Identity("API client", bearer(world.keys["client"]), "AV", told=TOLD_TO_API_CLIENTS),
        Identity("dashboard", bearer(dashboard.token()), "AV"),
        Identity("dashboard's agent", bearer(dashboard.agent(a.session_id)), "A", is_visitor=True),
        Identity(
            "dashboard's visitor", bearer(dashboard.user(a.session_id)), "A", is_visitor=True, told=TOLD_TO_VISITORS
        ),
        Identity("dashboard that names B", bearer(dashboard.token(organization_id=world.b.business.pk))),
        Identity("miner", bearer(world.miner_key), "A", is_visitor=True, told=TOLD_TO_MINERS),
        Identity("owner", cookie(world, "owner"), "AV"),
        Identity("viewer", cookie(world, "viewer"), "AV"),
        Identity("outsider", cookie(world, "outsider")),
    ]
    return {identity.name: identity for identity in everybody}


def cookie(world: World, name: str) -> dict[str, str]:
    return {"Cookie": f"sessionid={world.cookies[name]}; csrftoken={CSRF}", "X-CSRFToken": CSRF}


# --- The ids that they try


def ids_of(owner: Owner) -> dict[str, Any]:
    """The values by which an owner's rows are called in addresses, queries and bodies that the schema knows."""
    return {
        "session_id": str(owner.session_id),
        "conversation_id": str(owner.session_id),
        "job_id": str(owner[Job].pk),
        "bot_id": owner[Bot].pk,
        "model": f"bot:{owner[Bot].pk}",
        "source_id": str(owner[Source].pk),
        "source_ids": [str(owner[Source].pk)],
        "file_id": str(owner[UploadedFile].pk),
        "training_job_id": str(owner[TrainingJob].pk),
        "business_id": owner.business.pk,
        "message_id": owner[ChatLog].pk,
        "fence": owner[Attempt].pk,
        "before": owner[ChatLog].pk + 1,
    }


def ids_of_miner(miner: Miner, job: Job) -> dict[str, Any]:
    return {"miner_id": miner.pk, "job_id": str(job.pk), "fence": job.fence}


def link_names(owner: Owner) -> dict[str, Any]:
    """Every name of a foreign key in any tenant table, and of any tenant table itself, with the owner's id for it."""
    named: dict[str, Any] = {"key": owner[ApiKey].pk, "session": str(owner.session_id)}
    for model in tenant_models():
        named |= {model._meta.model_name: owner.rows[model].pk, f"{model._meta.model_name}_id": owner.rows[model].pk}
        for link in links(model):
            target = link.remote_field.model
            value = owner.people[0].pk if target is User else getattr(owner.rows.get(target), "pk", None)
            if value is not None:
                named |= {link.name: value, link.attname: value}
    return {name: str(value) for name, value in named.items()}


def field_values(owner: Owner) -> dict[str, dict[str, str]]:
    """By model: every field's name with the value that the owner's row has."""
    return {
        str(model._meta.model_name): {
            item.attname: str(getattr(row, item.attname))
            for item in model._meta.concrete_fields
            if getattr(row, item.attname) not in (None, "", [], {})
        }
        for model, row in owner.rows.items()
    }


__all__ = ["Conversation", "Identity", "field_values", "identities", "ids_of", "ids_of_miner", "link_names"]
