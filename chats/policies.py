"""The safety rules that hold for a bot: its own, else its business's, else ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from accounts.recent import RecentAnswers
from chats.choices import PersonalDataTrust
from chats.models import Bot, SafetyPolicy

REMEMBERED_S: Final = 1.0
POLICIES_REMEMBERED: Final = 5_000


@dataclass(frozen=True)
class Policy:
    """What holds for one bot; the daily quotas of its business and of itself hold side by side."""

    rules: SafetyPolicy
    business_quota: int | None = None
    bot_quota: int | None = None

    def masks(self, min_trust: int) -> bool:
        """Whether a miner that may read the words has less trust than personal data takes."""
        demanded = self.rules.personal_data_trust
        return demanded == PersonalDataTrust.NOBODY or min_trust < demanded


_policies: RecentAnswers[Policy] = RecentAnswers(REMEMBERED_S, POLICIES_REMEMBERED)


def policy_of(bot: Bot) -> Policy:
    """Remembered for a second, as bots are; one statement. Runs in a scope that shows the business."""
    return _policies.get((bot.business_id, bot.pk), lambda: _read(bot))


def policy_of_business(business_id: int) -> Policy:
    """What holds where no bot is asked."""
    return _policies.get((business_id, None), lambda: _read_general(business_id))


def forget_policies() -> None:
    """Has every policy read again: for tests, whose databases come and go."""
    _policies.clear()


def _read_general(business_id: int) -> Policy:
    general = SafetyPolicy.objects.for_business(business_id).filter(bot=None).first()
    quota = general.daily_messages if general else None
    return Policy(rules=general or SafetyPolicy(business_id=business_id), business_quota=quota)


def _read(bot: Bot) -> Policy:
    found = {row.bot_id: row for row in SafetyPolicy.objects.for_business(bot.business_id).of_bot(bot.pk)}
    general, own = found.get(None), found.get(bot.pk)
    return Policy(
        rules=own or general or SafetyPolicy(business_id=bot.business_id),
        business_quota=general.daily_messages if general else None,
        bot_quota=own.daily_messages if own else None,
    )
