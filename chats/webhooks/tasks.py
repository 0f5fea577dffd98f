"""What workers do for webhooks: ids in, one domain call."""

from __future__ import annotations

from django.utils import timezone

from accounts.tasks import long_tenant_task
from chats.webhooks import delivering


@long_tenant_task
def deliver(*, business_id: int, delivery_id: int) -> None:
    """Sends one message once, if it is due."""
    delivering.deliver(business_id=business_id, delivery_id=delivery_id, now=timezone.now())
