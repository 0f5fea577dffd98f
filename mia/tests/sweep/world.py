"""Two businesses, every text of theirs marked, and the credentials of everybody who might come to look.

Rows are made by looking at the models: a new tenant model is planted, and searched for, the day it is added. Its texts
read `CANARY-<whose>-<model>-<field>`: A is the business that the sweep acts for, B the one it must never touch, V
another visitor of A, and M another miner than the one that acts.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.test import Client
from django.utils import timezone

from accounts.choices import KeyKind, Role
from accounts.models import ApiKey, Business, JwtIssuer, Membership, User
from accounts.tenancy import platform_scope
from accounts.tests.factories import ORIGIN, ApiKeyFactory, UserFactory
from accounts.tests.test_guards import is_tenant, label
from chats.choices import Role as ChatRole
from chats.models import ChatLog, Conversation
from chats.tests.issuers import Dashboard, make_dashboard
from chats.tokens import session_token, stream_token
from knowledge.models import RetrievalLog, TestRun
from miners.models import Attempt, EnrolmentToken, Job, Miner
from miners.tests.factories import hold, make_job, make_miner

MARK = "canary-{}-"
SHORTEST_MARKED = 10
FOREIGN_ORIGIN = "https://evil.example"
PUBLIC_MINER_FIELDS = {"name", "gpu_name", "model_ids", "features", "agent", "bench", "gpus", "served_models"}
"""What anybody may know of a miner, or what is no text of its owner's; the rest of its row is marked."""

_fences = itertools.count(10**15)


@dataclass
class Owner:
    """Whose rows are planted: a letter, the business they belong to, and each model's row."""

    letter: str
    rows: dict[type[models.Model], models.Model] = field(default_factory=dict)
    people: list[User] = field(default_factory=list)
    session_id: uuid.UUID = field(default_factory=uuid.uuid4)
    miner: Miner | None = None

    @property
    def business(self) -> Business:
        return self[Business]

    def __getitem__(self, model: type[Any]) -> Any:
        return self.rows[model]

    def text(self, model: type[models.Model], name: str, longest: int | None = None) -> str:
        return f"CANARY-{self.letter}-{model._meta.app_label}.{model._meta.model_name}-{name}"[:longest]

    @property
    def mark(self) -> str:
        return MARK.format(self.letter.lower())


Shape = Callable[[Owner], Any]

SHAPES: dict[str, Shape] = {
    # What must have a form to be of any use; everything else is made from the field itself.
    "accounts.Business.time_zone": lambda owner: "UTC",
    "accounts.Membership.user": lambda owner: owner.people[-1],
    "accounts.ApiKey.expires_at": lambda owner: None,
    "accounts.ApiKey.revoked_at": lambda owner: None,
    "accounts.ApiKey.scopes": lambda owner: [],
    "accounts.JwtIssuer.jwks_url": lambda owner: "",
    "accounts.Invitation.accepted_at": lambda owner: None,
    # A file, so that it can be finalised; a removal, so that it stands in the way of no training.
    "knowledge.Source.kind": lambda owner: "file",
    "knowledge.TrainingJob.kind": lambda owner: "cleanup",
    "knowledge.Chunk.configuration": lambda owner: "simple",
    "knowledge.EmbeddingVersion.dimensions": lambda owner: 2,
    "knowledge.Embedding.dimensions": lambda owner: 2,
    "knowledge.Embedding.vector": lambda owner: [0.0, 1.0],
    "knowledge.Posting.size": lambda owner: 0,
    "chats.Bot.color": lambda owner: "#123456",
    "chats.Bot.is_default": lambda owner: True,
    "chats.Bot.widget_key": lambda owner: None,
    "chats.Bot.model": lambda owner: "",
    "chats.Conversation.public_id": lambda owner: owner.session_id,
    "chats.Conversation.last_job_id": lambda owner: owner[Job].pk,
    "chats.ChatLog.role": lambda owner: ChatRole.ASSISTANT,
    "chats.ChatLog.citations": lambda owner: [{"title": owner.text(ChatLog, "citations"), "url": "https://a.example"}],
    "chats.ChatLog.tool_calls": lambda owner: tool_calls(owner.text(ChatLog, "tool_calls")),
    "chats.SafetyPolicy.bot": lambda owner: None,
    "chats.SafetyPolicy.daily_messages": lambda owner: None,
    "chats.SafetyPolicy.phone_region": lambda owner: "CH",
    "chats.SafetyPolicy.personal_data_trust": lambda owner: 0,
    "chats.SafetyPolicy.off_topic": lambda owner: "allowed",
    "chats.VisitorBlock.lifted_at": lambda owner: timezone.now(),
    "chats.VisitorBlock.address_hash": lambda owner: "",
    "chats.Conversation.address_hash": lambda owner: "",
    "chats.GuardrailEvent.job_id": lambda owner: None,
    "chats.Channel.kind": lambda owner: "email",
    "chats.Channel.is_active": lambda owner: False,
    "chats.ChannelMessage.delivery": lambda owner: "done",
    "chats.OwnershipChange.to_owner": lambda owner: "queue",
    "chats.AgentSeat.seen_at": lambda owner: timezone.now() - timedelta(hours=1),
    "knowledge.RetrievalLog.timings": lambda owner: {"dense_ms": 1.5},
    "knowledge.RetrievalLog.passages": lambda owner: [{"title": owner.text(RetrievalLog, "passages"), "chunk_id": 1}],
    "knowledge.TestRun.results": lambda owner: [{"question": owner.text(TestRun, "results"), "passed": True}],
    "miners.Job.topic": lambda owner: f"conversation:{owner.session_id}",
    "miners.Job.kind": lambda owner: "chat",
    "miners.Job.state": lambda owner: "completed",
    "miners.Job.lane": lambda owner: 0,
    "miners.Job.model": lambda owner: "",
    "miners.Job.finished_at": lambda owner: timezone.now(),
    "miners.Job.lease_until": lambda owner: None,
    "miners.Job.target_miner": lambda owner: None,
    "miners.Job.messages": lambda owner: [{"role": "user", "content": owner.text(Job, "messages")}],
    "miners.Job.params": lambda owner: {"stop": [owner.text(Job, "params")]},
    "miners.Job.tools": lambda owner: [],
    "miners.Job.tool_choice": lambda owner: "auto",
    "miners.Job.features": lambda owner: [],
    "miners.Job.tool_calls": lambda owner: tool_calls(owner.text(Job, "tool_calls")),
    "miners.Attempt.fence": lambda owner: next(_fences),
    "miners.Attempt.outcome": lambda owner: "error",
    "miners.Miner.status": lambda owner: "idle",
    "miners.EnrolmentToken.revoked_at": lambda owner: None,
}


def tool_calls(name: str) -> list[dict[str, Any]]:
    return [{"id": "call_1", "type": "function", "function": {"name": name, "arguments": "{}"}}]


# --- Planting


def tenant_models() -> list[type[models.Model]]:
    """Every table of tenants', parents before children."""
    waiting = [model for model in apps.get_models() if model._meta.managed and is_tenant(model)]
    ordered: list[type[models.Model]] = []
    while waiting:
        ready = [model for model in waiting if not parents(model) & set(waiting) - {model}]
        assert ready, f"these tables point at each other in a ring: {waiting}"
        ordered += ready
        waiting = [model for model in waiting if model not in ready]
    # A conversation names its last job, though not by a foreign key.
    ordered.remove(Job)
    return [ordered[0], Job, *ordered[1:]]


def parents(model: type[models.Model]) -> set[type[models.Model]]:
    return {link.remote_field.model for link in links(model) if is_tenant(link.remote_field.model)}


def links(model: type[models.Model]) -> list[models.ForeignKey[Any, Any]]:
    return [item for item in model._meta.concrete_fields if isinstance(item, models.ForeignKey)]


def plant(owner: Owner, chosen: Iterable[type[models.Model]]) -> None:
    """One row of each model, with every text of it marked."""
    for model in chosen:
        if model not in owner.rows:
            row = model()
            for item in model._meta.concrete_fields:
                if not (isinstance(item, models.AutoField) or item.generated):
                    setattr(row, item.name, value_for(owner, model, item))
            row.save(force_insert=True)
            owner.rows[model] = row


def value_for(owner: Owner, model: type[models.Model], item: models.Field[Any, Any]) -> Any:
    shape = SHAPES.get(f"{label(model)}.{item.name}")
    if shape is not None:
        return shape(owner)
    if isinstance(item, models.ForeignKey):
        return related_row(owner, item)
    if item.attname == "business_id":
        return owner.business.pk
    if item.choices:
        return item.get_default() if item.has_default() else item.choices[0][0]
    return marked_value(owner, model, item)


def related_row(owner: Owner, item: models.ForeignKey[Any, Any]) -> models.Model | None:
    target = item.remote_field.model
    if target is User:
        return owner.people[0] if owner.people else None
    if target is Miner:
        return owner.miner
    return owner.rows.get(target)


def marked_value(owner: Owner, model: type[models.Model], item: models.Field[Any, Any]) -> Any:
    text = owner.text(model, item.name, item.max_length)
    match item:
        case models.EmailField():
            return f"{owner.text(model, item.name).lower()}@canary.example"
        case models.URLField():
            return f"https://{owner.text(model, item.name).lower()}.example"
        case models.CharField() | models.TextField() if item.max_length is None or item.max_length >= SHORTEST_MARKED:
            return text
        case models.JSONField():
            return {"canary": text}
        case ArrayField() if isinstance(item.base_field, models.CharField):
            return [owner.text(model, item.name, item.base_field.max_length)]
    return plain_value(item)


def plain_value(item: models.Field[Any, Any]) -> Any:
    if item.has_default():
        return item.get_default()
    match item:
        case _ if item.null:
            return None
        case models.DateTimeField():
            return timezone.now() + timedelta(minutes=5)
        case models.BooleanField():
            return False
        case models.BinaryField():
            return b""
        case models.IntegerField() | models.FloatField():
            return 1
    return ""


def visitors_models() -> list[type[models.Model]]:
    """What hangs on one conversation: the rows that another visitor of the same business must not see."""
    own: set[type[models.Model]] = {Conversation, Job}
    for model in tenant_models():
        if parents(model) & own and model is not Conversation:
            own.add(model)
    return [model for model in tenant_models() if model in own]


def marked_person(letter: str, role: str) -> User:
    return UserFactory(email=f"canary-{letter.lower()}-{role}@canary.example", name=f"CANARY-{letter}-person-{role}")


def mark_miner(letter: str, miner: Miner) -> None:
    """Marks what only platform staff may know of a miner, key and address included."""
    owner = Owner(letter)
    for item in Miner._meta.concrete_fields:
        keeps = item.name in PUBLIC_MINER_FIELDS or item.choices or item.name in {"key_prefix", "key_digest"}
        if isinstance(item, models.CharField) and not keeps:
            setattr(miner, item.name, owner.text(Miner, item.name, item.max_length))
    miner.save()


# --- The world


@dataclass
class World:
    """Everything that a sweep needs to know of its two businesses."""

    a: Owner
    b: Owner
    v: Owner
    keys: dict[str, str]
    dashboard: Dashboard
    miner: Miner
    miner_key: str
    other_miner: Miner
    held_job: Job
    own_job: Job
    cookies: dict[str, str]

    def session_token(self, owner: Owner) -> str:
        return session_token(conversation_id=owner.session_id, business_id=owner.business.pk)

    def stream_token(self, owner: Owner) -> str:
        return stream_token(conversation_id=owner.session_id, business_id=owner.business.pk)


def make_world() -> World:
    with platform_scope():
        return _make_world()


def _make_world() -> World:
    miner, miner_key = make_miner(name="miner-a", slots=8, slots_free=8)
    other_miner, _ = make_miner(name="miner-m")
    # Somebody who could answer programs, all the while the sweep takes.
    make_miner(name="miner-elsewhere", last_active=timezone.now() + timedelta(hours=1))
    mark_miner("M", other_miner)
    plant(Owner("M", rows={}), [EnrolmentToken])
    a, b = make_owner("A", other_miner), make_owner("B", other_miner)
    v = Owner("V", rows={model: row for model, row in a.rows.items() if model not in visitors_models()})
    v.people, v.miner = [marked_person("V", "nobody")], other_miner
    plant(v, visitors_models())
    held = hold(make_job(topic="canary-m:held"), other_miner, acked=True)
    keys = {kind.value: ApiKeyFactory(business=a.business, kind=kind).plain for kind in list(KeyKind)[:3]}
    return World(
        a=a,
        b=b,
        v=v,
        keys=keys,
        dashboard=make_dashboard(a.business),
        miner=miner,
        miner_key=miner_key,
        other_miner=other_miner,
        held_job=held,
        own_job=hold(make_job(business_id=a.business.pk), miner, acked=True),
        cookies=staff_cookies(a),
    )


def make_owner(letter: str, miner: Miner) -> Owner:
    owner = Owner(letter, miner=miner, people=[marked_person(letter, role) for role in ("owner", "viewer", "agent")])
    plant(owner, tenant_models())
    for person, role in zip(owner.people[:2], (Role.OWNER, Role.VIEWER), strict=True):
        Membership.objects.create(business=owner.business, user=person, role=role)
    return owner


def staff_cookies(a: Owner) -> dict[str, str]:
    """Sessions of the owner and the viewer of A, of somebody who belongs to no business, and of platform staff."""
    people = {
        "owner": a.people[0],
        "viewer": a.people[1],
        "outsider": UserFactory(email="outsider@example.org"),
        "root": UserFactory(email="root@example.org", superuser=True),
    }
    return {name: session_of(person) for name, person in people.items()}


def session_of(person: User) -> str:
    client = Client()
    client.force_login(person)
    return client.cookies["sessionid"].value


__all__ = ["FOREIGN_ORIGIN", "ORIGIN", "ApiKey", "Attempt", "JwtIssuer", "Owner", "World", "make_world"]
