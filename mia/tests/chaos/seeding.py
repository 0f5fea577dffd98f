"""Fills an empty database for a site under test, in its own process: `python -m mia.tests.chaos.seeding MINERS`."""

import json
import os
import sys
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mia.settings")
django.setup()

from django.core.management import call_command  # noqa: E402
from django.utils import timezone  # noqa: E402

from accounts.choices import KeyKind  # noqa: E402
from accounts.keys import new_key  # noqa: E402
from accounts.tests.factories import ApiKeyFactory  # noqa: E402
from chats.tests.factories import BotFactory  # noqa: E402
from knowledge.tests.pages import teach  # noqa: E402
from miners.choices import MinerStatus, Trust  # noqa: E402
from miners.models import Canary, Miner  # noqa: E402
from miners.services import create_enrolment_token  # noqa: E402

BUSINESSES = 4
RETURNS = "You may return any bicycle within 30 days of delivery. Print the label from your account."


def seed(miners: int) -> dict[str, Any]:
    """Businesses that ask, miners that were made without registering, and a token for those that register."""
    call_command("migrate", verbosity=0)
    Canary.objects.update(is_active=False)
    token = create_enrolment_token(name="chaos", trust=Trust.VERIFIED, max_uses=10_000)[1]
    secrets = [seed_business() for _ in range(BUSINESSES)]
    kinds = (KeyKind.PUBLISHABLE, KeyKind.CLIENT)
    others = {kind.value: str(ApiKeyFactory(business=BotFactory().business, kind=kind).plain) for kind in kinds}
    return {"keys": secrets, **others, "taught": seed_taught(), "token": token, "miners": seed_miners(miners)}


def seed_business() -> str:
    """The secret key of a new business with one bot."""
    key = ApiKeyFactory()
    BotFactory(business=key.business)
    return str(key.plain)


def seed_taught() -> dict[str, Any]:
    """A business whose bot knows one page and nothing else."""
    key = ApiKeyFactory()
    bot = BotFactory(business=key.business, business_description="")
    teach(key.business_id, ("Returns", RETURNS, "https://shop.example/returns"))
    return {"key": str(key.plain), "bot": bot.pk}


def seed_miners(number: int) -> list[list[Any]]:
    """[id, key] of each."""
    keys = [new_key(KeyKind.MINER) for _ in range(number)]
    rows = [
        Miner(
            name=f"seeded-{index}",
            key_prefix=key.prefix,
            key_digest=key.digest,
            trust=Trust.VERIFIED,
            status=MinerStatus.OFFLINE,
            agent="chaos/1",
            max_context=8192,
            slots=4,
            created_at=timezone.now(),
        )
        for index, key in enumerate(keys)
    ]
    return [[row.pk, key.plain] for row, key in zip(Miner.objects.bulk_create(rows), keys, strict=True)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps(seed(int(sys.argv[1]))))
