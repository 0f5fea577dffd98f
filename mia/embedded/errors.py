"""What can go wrong with an embedded service, said so that the reader knows what to do."""

from pathlib import Path

from mia.embedded.processes import tail


class EmbeddedServiceError(Exception):
    """An embedded service cannot run; the message says why and what to do."""


class ServiceMissing(EmbeddedServiceError):
    """No program for the service is installed."""


class ServiceFailed(EmbeddedServiceError):
    """The program started and ended, or never answered; the message ends with its log."""

    def __init__(self, what: str, log: Path) -> None:
        lines = "\n".join(f"    {line}" for line in tail(log))
        super().__init__(f"{what} Its log, {log}, ends with:\n{lines or '    (nothing)'}")
