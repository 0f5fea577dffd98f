"""The page that shows the network as it moves; `miners.sockets` feeds it."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from redis.exceptions import RedisError

from accounts.scoped_admin import user_of
from mia.lib.redis import sync_redis
from miners.installer import enrolment_command, platform_url
from miners.leader import SNAPSHOT_KEY
from miners.models import Miner, NetworkSample
from miners.network import history

CHARTED = (
    "tokens_per_second",
    "queued_chat",
    "queued_api",
    "queued_idle",
    "running",
    "start_p50_ms",
    "start_p95_ms",
    "first_token_p50_ms",
    "first_token_p95_ms",
)


def live_page(request: HttpRequest) -> HttpResponse:
    """For platform staff. What it opens with is what the socket will go on from."""
    if not user_of(request).is_superuser:
        raise PermissionDenied
    context = {
        **admin.site.each_context(request),
        "title": _("Network live"),
        "snapshot": latest_snapshot(),
        "history": [chart_point(sample) for sample in history(now=timezone.now())],
        "has_miners": Miner.objects.exists(),
        "command": enrolment_command(platform_url(request), str(_("YOUR-TOKEN"))),
        "is_fullwidth": "1",
    }
    return TemplateResponse(request, "miners/live.html", context)


def latest_snapshot() -> dict[str, Any] | None:
    """What the dispatcher said last, if that is not long ago."""
    try:
        latest = sync_redis().get(SNAPSHOT_KEY)
    except RedisError:
        return None
    return json.loads(latest) if latest else None  # type: ignore[arg-type]


def chart_point(sample: NetworkSample) -> dict[str, float | None]:
    return {"at": sample.at.timestamp() * 1000, **{name: getattr(sample, name) for name in CHARTED}}
