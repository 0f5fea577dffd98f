"""Miners' keys, for the views that are not on the hot lane."""

from accounts.choices import KeyKind
from accounts.keys import ParsedKey, key_matches
from accounts.principals import Principal, PrincipalKind
from miners.choices import Trust
from miners.models import Miner


def find_miner(parsed: ParsedKey) -> Principal | None:
    """The holder of a miner's key; runs in platform scope. A banned miner's key is no key."""
    miner = Miner.objects.filter(key_prefix=parsed.prefix).exclude(trust=Trust.BANNED).first()
    if parsed.kind != KeyKind.MINER or miner is None or not key_matches(parsed.plain, miner.key_digest):
        return None
    return Principal(kind=PrincipalKind.MINER, key_id=miner.pk, label=miner.name)
