"""Who may open which bot, conversation and job; whatever may not be opened is not found."""

from __future__ import annotations

from typing import cast
from uuid import UUID

from accounts.principals import Principal, PrincipalKind
from accounts.recent import RecentAnswers
from chats.models import Bot, Conversation
from chats.querysets import BotQuerySet
from chats.tokens import Pass, read_session_token, read_stream_token
from mia.lib.errors import NotFound
from miners.choices import JobKind
from miners.models import Job

CHAT_KINDS = frozenset({PrincipalKind.PUBLISHABLE, PrincipalKind.SECRET, PrincipalKind.DASHBOARD})
"""Whoever may speak in a business's chats."""

USER_TOKEN = "user"  # noqa: S105 - a kind of token
AGENT_TOKEN = "agent"  # noqa: S105 - a kind of token

BOT_REMEMBERED_S = 1.0
BOTS_REMEMBERED = 5_000

_bots: RecentAnswers[Bot | None] = RecentAnswers(BOT_REMEMBERED_S, BOTS_REMEMBERED)


def own_business_id(principal: Principal, named: int | None = None) -> int:
    """The business of the credential; another one named in a body is a stranger's."""
    if principal.business_id is None or named not in {None, principal.business_id}:
        raise NotFound
    return principal.business_id


def access_bot(principal: Principal, bot_id: int | None) -> Bot:
    """The bot that was named, or the default one; a widget's key that a bot claims reaches that bot alone.

    Remembered for a second: what staff change in the admin is in force that much later.
    """
    business_id = own_business_id(principal)
    key_id = principal.key_id if principal.kind == PrincipalKind.PUBLISHABLE else None
    bot = _bots.get((business_id, key_id, bot_id), lambda: _find_bot(business_id, key_id, bot_id))
    if bot is None:
        raise NotFound("There is no such bot." if bot_id else "This business has no active bot.")
    return bot


def bot_of(conversation: Conversation) -> Bot:
    """The bot that speaks in a conversation, while it is active."""
    business_id, bot_id = conversation.business_id, conversation.bot_id
    bot = _bots.get((business_id, bot_id), lambda: _active_bots(business_id).filter(pk=bot_id).first())
    if bot is None:
        raise NotFound("This bot is no longer active.")
    return bot


def forget_bots() -> None:
    """Has every bot read again: for tests, whose databases come and go."""
    _bots.clear()


def _find_bot(business_id: int, key_id: int | None, bot_id: int | None) -> Bot | None:
    bots = _active_bots(business_id)
    if key_id is not None:
        own = bots.filter(widget_key=key_id)
        bots = own if own.exists() else bots.filter(widget_key=None)
    if bot_id is not None:
        bots = bots.filter(pk=bot_id)
    return cast("Bot | None", bots.default_first().first())


def _active_bots(business_id: int) -> BotQuerySet:
    return cast("BotQuerySet", Bot.objects.for_business(business_id).active().select_related("business"))


def access_conversation(principal: Principal, session_id: UUID, token: str, *, lock: bool = False) -> Conversation:
    """A session id alone opens nothing: a visitor shows the session's token, a dashboard token may be tied to one."""
    conversations = Conversation.objects.for_business(own_business_id(principal)).filter(public_id=session_id)
    if lock:
        conversations = conversations.select_for_update()
    if not _shows_what_it_needs(principal, session_id, token):
        raise NotFound("There is no such session.")
    conversation: Conversation | None = conversations.first()
    if conversation is None or not _is_claimed(principal, conversation):
        raise NotFound("There is no such session.")
    return conversation


def access_job(principal: Principal, job_id: UUID, token: str) -> Job:
    """A job of the business; for a visitor, one of the session whose token is shown."""
    job: Job | None = (
        Job.objects.filter(business_id=own_business_id(principal), pk=job_id).exclude(kind=JobKind.CANARY).first()
    )
    if job is None or not _may_read_topic(principal, job.topic, token):
        raise NotFound("There is no such job.")
    return job


def _shows_what_it_needs(principal: Principal, session_id: UUID, token: str) -> bool:
    if principal.kind != PrincipalKind.PUBLISHABLE:
        return True
    return _is_for(read_session_token(token), principal, session_id)


def _is_for(shown: Pass | None, principal: Principal, session_id: UUID) -> bool:
    return shown is not None and shown.conversation_id == session_id and shown.business_id == principal.business_id


def _is_claimed(principal: Principal, conversation: Conversation) -> bool:
    """A dashboard token that names a conversation, or speaks for a visitor, opens that conversation only."""
    if principal.kind != PrincipalKind.DASHBOARD:
        return True
    claimed = principal.claims.get("conversation_id")
    if claimed is None:
        return principal.claims.get("type") != USER_TOKEN
    return str(claimed) in {str(conversation.public_id), conversation.external_id or None}


def _may_read_topic(principal: Principal, topic: str, token: str) -> bool:
    if principal.kind == PrincipalKind.DASHBOARD and _speaks_for_one(principal):
        conversation = Conversation.objects.for_business(principal.business_id).on_topic(topic).first()
        return conversation is not None and _is_claimed(principal, conversation)
    if principal.kind != PrincipalKind.PUBLISHABLE:
        return True
    shown = read_session_token(token) or read_stream_token(token)
    if shown is None or shown.business_id != principal.business_id:
        return False
    return topic == Conversation(public_id=shown.conversation_id).topic


def _speaks_for_one(principal: Principal) -> bool:
    return "conversation_id" in principal.claims or principal.claims.get("type") == USER_TOKEN
