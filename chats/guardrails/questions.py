"""Messages held against the rules before anything is asked of a model."""

from __future__ import annotations

from chats.guardrails.attacks import Hit, abuse_in, attack_in
from chats.guardrails.normal import normal
from chats.guardrails.topics import other_topic
from chats.models import Bot
from chats.policies import Policy
from knowledge.answering import Grounding


def objection(message: str, *, bot: Bot, policy: Policy, grounding: Grounding | None) -> Hit | None:
    """Why a message is refused; None for one that may be answered. No statement, well under a millisecond."""
    plain = normal(message)
    if policy.rules.blocks_injection and (hit := attack_in(plain)):
        return hit
    if policy.rules.blocks_abuse and (hit := abuse_in(plain)):
        return hit
    return other_topic(message=message, plain=plain, bot=bot, policy=policy, grounding=grounding)
