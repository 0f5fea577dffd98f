"""What the network tells the apps above it; each signal is a row in `docs/signals.md`."""

from django.dispatch import Signal

job_finished = Signal()
"""Sent in platform scope, inside the transaction that ends a job; arguments: job, now."""
