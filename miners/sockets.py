"""The socket behind the live network page."""

import json
from typing import Any

from redis.exceptions import RedisError

from accounts.consumers import Refused, StaffConsumer
from accounts.models import User
from mia.lib.redis import async_redis
from miners.leader import SNAPSHOT_GROUP, SNAPSHOT_KEY


class NetworkSocket(StaffConsumer):
    """Sends the network's state as it is when the page opens, and every second from then on."""

    async def joined(self) -> None:
        await self.in_scope(check_platform_staff)
        await self.channel_layer.group_add(SNAPSHOT_GROUP, self.channel_name)
        try:
            latest = await async_redis().get(SNAPSHOT_KEY)
        except RedisError:
            return
        if latest:
            await self.send_json({"type": "snapshot", "snapshot": json.loads(latest)})

    async def disconnect(self, code: int) -> None:
        await self.channel_layer.group_discard(SNAPSHOT_GROUP, self.channel_name)

    async def network_snapshot(self, event: dict[str, Any]) -> None:
        await self.send_json({"type": "snapshot", "snapshot": event["snapshot"]})


def check_platform_staff(user: User) -> None:
    """The network is the platform's; a business sees its own jobs elsewhere. Raises Refused."""
    if not user.is_superuser:
        raise Refused("Only platform staff watch the network.")
