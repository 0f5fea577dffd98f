"""`{% load phrases %}`: numbers and times as people say them."""

from datetime import datetime, timedelta

from django import template
from django.utils import timezone

from mia.lib import phrases

register = template.Library()


@register.filter
def ago(moment: datetime | None) -> str:
    """How long ago."""
    return phrases.ago(moment, timezone.now())


@register.filter
def span(length: timedelta | float | None) -> str:
    """A length of time; a number is milliseconds."""
    return phrases.span(length)


@register.filter
def short_count(number: float | None) -> str:
    """A number for a tile."""
    return phrases.count(number)


@register.filter
def memory(megabytes: float | None) -> str:
    """Memory, from MiB."""
    return phrases.memory(megabytes)
