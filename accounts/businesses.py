"""Naming a business on the command line."""

from __future__ import annotations

from django.core.management.base import CommandError

from accounts.models import Business
from accounts.tenancy import platform_scope


def business_named(text: str) -> Business:
    """By its id or its whole name; raises CommandError where that is none, or more than one."""
    with platform_scope():
        found = list(
            Business.objects.filter(pk=int(text)) if text.isdigit() else Business.objects.filter(name=text)[:2]
        )
    if len(found) != 1:
        raise CommandError(f"There is {'no' if not found else 'more than one'} business {text!r}; give its id.")
    return found[0]
