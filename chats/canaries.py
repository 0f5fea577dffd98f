"""The words of a canary, made as those of any chat job are, so that no miner can tell the two apart."""

import random
from typing import Any

from chats.models import Bot
from chats.prompts import build_prompt, user_message

# Personas as businesses write them; which one it is tells nothing.
NAMES = ("Ada", "Bo", "Helper", "Kim", "Lena", "Max", "Nora", "Sam", "Shop assistant", "Support", "Tomás", "Yuki")
ROLES = ("", "the assistant of our shop", "a member of the support team", "a friendly concierge")
TONES = ("", "friendly", "warm and brief", "professional", "relaxed")
TEMPERATURES = (0.0, 0.2, 0.3, 0.3, 0.3, 0.5)


def canary_prompt(*, facts: str, question: str) -> dict[str, Any]:
    """Messages, parameters, longest answer and prefix key of a job that asks the question about the facts."""
    persona = {"name": NAMES, "role": ROLES, "tone": TONES, "temperature": TEMPERATURES}
    chosen = {field: random.choice(options) for field, options in persona.items()}  # noqa: S311
    bot = Bot(business_description=facts, **chosen)
    prompt = build_prompt(bot=bot, history=[], question=[user_message(question)], context="", max_tokens=bot.max_tokens)
    return {
        "messages": [dict(message) for message in prompt.messages],
        "params": {"max_tokens": bot.max_tokens, "temperature": bot.temperature},
        "max_tokens": bot.max_tokens,
        "prefix_key": prompt.prefix_key,
    }
