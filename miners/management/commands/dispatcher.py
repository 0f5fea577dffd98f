"""`manage.py dispatcher`: reaps what has run out, sends canaries, and tells the dashboards how the network is."""

import signal
from types import FrameType
from typing import Any

from django.core.management.base import BaseCommand

from miners.leader import Dispatcher


class Command(BaseCommand):
    """Runs until SIGTERM; any number may run, one is active at a time."""

    help = "Reaps leases and offers, marks silent miners offline, sends canaries, feeds the live dashboard."

    def handle(self, *args: Any, **options: Any) -> None:
        dispatcher = Dispatcher()

        def stop(_signal: int, _frame: FrameType | None) -> None:
            dispatcher.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        dispatcher.run()
