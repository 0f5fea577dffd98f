"""The network: miners, jobs, attempts, dispatch, token streams, trust, live status."""

from django.apps import AppConfig


class MinersConfig(AppConfig):
    """The Django app of the network."""

    name = "miners"
    verbose_name = "Network"

    def ready(self) -> None:
        from accounts.choices import KeyKind
        from accounts.resolution import register_lookup
        from miners.authentication import find_miner

        register_lookup(KeyKind.MINER, find_miner)
