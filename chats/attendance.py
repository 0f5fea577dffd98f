"""Who sits in a conversation by a socket, and what they do there. Blocking: sockets call it in a thread."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final
from uuid import UUID

from accounts.api import scope_of
from accounts.principals import Principal, PrincipalKind
from accounts.tokens import resolve_token
from chats import events, handoffs, services
from chats.access import AGENT_TOKEN, USER_TOKEN, access_bot
from chats.admittance import expiry_of
from chats.choices import Role
from chats.models import Conversation
from chats.replies import Reply
from chats.services import Caller, Question
from chats.tokens import Pass, read_session_token, read_stream_token, session_token
from mia.lib.errors import NotAuthenticated, NotFound

MAX_EXTERNAL_ID_CHARS: Final = 64
MAX_NAME_CHARS: Final = 150


@dataclass(frozen=True)
class Attendant:
    """One socket's holder: a visitor or an agent, in one conversation."""

    caller: Caller
    shown: Pass
    is_agent: bool = False
    name: str = ""
    token: str = field(default="", repr=False)
    expires_at: float | None = None
    socket_id: UUID = field(default_factory=uuid.uuid4)

    @property
    def role(self) -> Role:
        return Role.AGENT if self.is_agent else Role.USER


def attend(*, token: str, identifier: str, now: datetime) -> Attendant:
    """Lets a visitor in by a session's or a stream's token, either side by a dashboard's. An agent takes a seat.

    Raises NotAuthenticated and NotFound.
    """
    shown = read_stream_token(token) or read_session_token(token)
    if shown is not None:
        return _visitor(shown, identifier)
    principal = resolve_token(token)
    role = principal.claims.get("type")
    if role not in {USER_TOKEN, AGENT_TOKEN}:
        raise NotAuthenticated("The token's type must be user or agent.")
    with scope_of(principal):
        conversation = _conversation_of(principal, identifier, now)
        attendant = Attendant(
            caller=Caller(principal),
            shown=Pass(conversation.public_id, conversation.business_id),
            is_agent=role == AGENT_TOKEN,
            name=_name_in(principal),
            token=token,
            expires_at=expiry_of(principal),
        )
        if attendant.is_agent:
            handoffs.take_seat(conversation, socket_id=attendant.socket_id, name=attendant.name, now=now)
    return attendant


def still_attends(attendant: Attendant, *, now: datetime) -> None:
    """Looks again whether a dashboard's token is good, and renews an agent's seat. Raises NotAuthenticated."""
    if not attendant.token:
        return
    resolve_token(attendant.token)
    if attendant.is_agent:
        with scope_of(attendant.caller.principal):
            handoffs.renew_seat(socket_id=attendant.socket_id, now=now)


def leave(attendant: Attendant, *, now: datetime) -> None:
    """After the last agent the AI answers again."""
    if attendant.is_agent:
        with scope_of(attendant.caller.principal):
            handoffs.leave_seat(_open(attendant, lock=True), socket_id=attendant.socket_id, now=now)


def say(attendant: Attendant, *, message: str, now: datetime) -> Reply | None:
    """A message from either side; what a visitor's question led to, or None for an agent's words."""
    with scope_of(attendant.caller.principal):
        if not attendant.is_agent:
            question = Question(message=message, session_id=attendant.shown.conversation_id)
            return services.ask(caller=attendant.caller, question=question, now=now)
        conversation = _open(attendant)
        if not handoffs.renew_seat(socket_id=attendant.socket_id, now=now):
            handoffs.take_seat(conversation, socket_id=attendant.socket_id, name=attendant.name, now=now)
        handoffs.say(conversation, message=message, name=attendant.name, author=None, now=now)
        return None


def show_typing(attendant: Attendant) -> None:
    with scope_of(attendant.caller.principal):
        events.announce_typing(_open(attendant), attendant.role)


def cancel(attendant: Attendant, *, job_id: UUID, now: datetime) -> None:
    with scope_of(attendant.caller.principal):
        services.cancel(caller=attendant.caller, job_id=job_id, now=now)


def _visitor(shown: Pass, identifier: str) -> Attendant:
    if _normalised(identifier) != str(shown.conversation_id):
        raise NotFound("There is no such session.")
    principal = Principal(kind=PrincipalKind.PUBLISHABLE, business_id=shown.business_id)
    token = session_token(conversation_id=shown.conversation_id, business_id=shown.business_id)
    return Attendant(caller=Caller(principal, session_token=token), shown=shown)


def _conversation_of(principal: Principal, identifier: str, now: datetime) -> Conversation:
    """The one that the token is for; the business's issuer may name a new one by an id of its own."""
    claimed = principal.claims.get("conversation_id")
    is_vouched_for = claimed is not None and _normalised(str(claimed)) == _normalised(identifier)
    if not is_vouched_for and (claimed is not None or principal.claims.get("type") == USER_TOKEN):
        raise NotFound("There is no such session.")
    conversations = Conversation.objects.for_business(principal.business_id)
    conversation: Conversation | None = conversations.known_as(_normalised(identifier)).first()
    if conversation is not None:
        return conversation
    if not is_vouched_for or len(identifier) > MAX_EXTERNAL_ID_CHARS or not identifier.isprintable():
        raise NotFound("There is no such session.")
    bot = access_bot(principal, None)
    made, _created = conversations.get_or_create(
        business_id=principal.business_id,
        external_id=_normalised(identifier),
        defaults={"bot": bot, "created_at": now, "last_message_at": now},
    )
    return made  # type: ignore[no-any-return]


def _open(attendant: Attendant, *, lock: bool = False) -> Conversation:
    conversations = Conversation.objects.for_business(attendant.shown.business_id)
    if lock:
        conversations = conversations.select_for_update()
    conversation: Conversation | None = conversations.filter(public_id=attendant.shown.conversation_id).first()
    if conversation is None:
        raise NotFound("There is no such session.")
    return conversation


def _normalised(identifier: str) -> str:
    try:
        return str(UUID(identifier))
    except ValueError:
        return identifier


def _name_in(principal: Principal) -> str:
    name = principal.claims.get("name")
    return name[:MAX_NAME_CHARS] if isinstance(name, str) and name.isprintable() else ""
