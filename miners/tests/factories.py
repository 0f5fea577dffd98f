"""Rows for tests of the network."""

from datetime import timedelta
from typing import Any

from django.db import connection
from django.utils import timezone

from accounts.choices import KeyKind
from accounts.keys import new_key
from accounts.tenancy import platform_scope
from miners import fencing, limits
from miners.choices import JobKind, Lane, MinerStatus, Trust
from miners.models import Job, Miner
from miners.services import JobRequest, submit_job

_numbers = iter(range(1, 1_000_000))


def make_miner(**fields: Any) -> tuple[Miner, str]:
    """A verified miner that is online, and its key."""
    key = new_key(KeyKind.MINER)
    now = timezone.now()
    miner = Miner.objects.create(
        **{
            "name": f"miner-{next(_numbers)}",
            "key_prefix": key.prefix,
            "key_digest": key.digest,
            "trust": Trust.VERIFIED,
            "status": MinerStatus.IDLE,
            "agent": "tests/1",
            "last_active": now,
            "slots": 4,
            "slots_free": 4,
            "max_context": 8192,
            "created_at": now - timedelta(days=1),
            **fields,
        }
    )
    return miner, key.plain


def make_request(**fields: Any) -> JobRequest:
    return JobRequest(
        **{
            "kind": JobKind.CHAT,
            "lane": Lane.CHAT,
            "messages": [{"role": "user", "content": "Where is my parcel?"}],
            "max_tokens": 100,
            "topic": f"test:{next(_numbers)}",
            **fields,
        }
    )


def make_job(*, business_id: int | None = None, **fields: Any) -> Job:
    """A queued job, submitted as an app would."""
    with platform_scope():
        return submit_job(business_id=business_id, request=make_request(**fields), now=timezone.now())


def reload(job: Job) -> Job:
    with platform_scope():
        return Job.objects.get(pk=job.pk)


def hold(job: Job, miner: Miner, *, acked: bool = False) -> Job:
    """The job in this miner's hands, as a claim leaves it; running when `acked`."""
    given = {"jobs": [job.pk], "miners": [miner.pk], "models": [""], "leases": [limits.OFFER], "acked": [acked]}
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(fencing.OFFER, {**given, "trusts": [Trust.BANNED], "slots": [0]})
        assert cursor.rowcount == 1, "the job is not queued"
    return reload(job)
