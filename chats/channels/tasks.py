"""What workers do for channels: ids in, idempotent, one domain call."""

from __future__ import annotations

from django.utils import timezone

from accounts.tasks import long_tenant_task
from chats.channels import services


@long_tenant_task
def poll(*, business_id: int, channel_id: int) -> None:
    services.poll(business_id=business_id, channel_id=channel_id, now=timezone.now())


@long_tenant_task
def deliver(*, business_id: int, message_id: int) -> None:
    services.deliver(business_id=business_id, message_id=message_id, now=timezone.now())
