"""Replies remembered for requests that may be sent twice."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from accounts.tenancy import TenantModel
from chats import querysets


class IdempotencyRecord(TenantModel):
    """The first reply to a request that carried an Idempotency-Key; without the tokens in it, which are made anew."""

    principal = models.CharField(max_length=100)
    key = models.CharField(max_length=255)
    request_hash = models.CharField(max_length=64)
    status = models.PositiveSmallIntegerField(default=0)
    response = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)

    objects = querysets.IdempotencyManager()

    class Meta:
        ordering = ["id"]
        constraints = [
            models.UniqueConstraint(
                fields=["business", "principal", "key"], name="idempotency_key_is_used_once_by_its_holder"
            )
        ]
        indexes = [models.Index(fields=["created_at"], name="idempotency_by_age")]

    def __str__(self) -> str:
        return self.key
