"""Abstract models that any app may build on."""

from collections.abc import Iterable

from django.db import models
from django.db.models.base import ModelBase
from django.utils import timezone


class TimestampedModel(models.Model):
    """A row that knows when it was made and last saved.

    `created_at` is a default and not `auto_now_add`, so that a service can pass its own `now`.
    """

    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        abstract = True

    def save(
        self,
        *,
        force_insert: bool | tuple[ModelBase, ...] = False,
        force_update: bool = False,
        using: str | None = None,
        update_fields: Iterable[str] | None = None,
    ) -> None:
        """Saves; a partial save moves `updated_at` as a whole one does."""
        if update_fields is not None:
            update_fields = {*update_fields, "updated_at"} if update_fields else ()
        super().save(force_insert=force_insert, force_update=force_update, using=using, update_fields=update_fields)
