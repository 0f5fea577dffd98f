"""One undo for every database that a request wrote to."""

from __future__ import annotations

from django.db import connections, transaction


def undo_all() -> None:
    """Has every transaction that is open end with a rollback."""
    for alias in connections:
        if connections[alias].in_atomic_block:
            transaction.set_rollback(True, using=alias)
