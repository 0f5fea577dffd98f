"""What miners say of themselves, and what the world may know of them."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from accounts.tenancy import platform_scope
from miners import presence, services
from miners.choices import AttemptOutcome, MinerStatus, Trust
from miners.models import Miner
from miners.results import fault
from miners.tests.factories import hold, make_job, make_miner
from miners.tests.lane import Lane, run

pytestmark = pytest.mark.django_db(transaction=True)


def call(method: str, path: str, key: str = "", body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return getattr(Client(), method)(path, body, content_type="application/json", headers=headers)


@pytest.mark.parametrize("status", MinerStatus.values)
def test_a_miner_sets_its_own_status(status: str) -> None:
    miner, key = make_miner()
    reply = call("post", f"/miner/{miner.pk}/status", key, {"status": status})
    assert reply.status_code == 200
    assert Miner.objects.get(pk=miner.pk).status == status


def test_nobody_sets_anothers_status() -> None:
    miner, _ = make_miner()
    _, stranger = make_miner()
    assert call("post", f"/miner/{miner.pk}/status", stranger, {"status": "offline"}).status_code == 404
    assert call("post", f"/miner/{miner.pk}/status", "", {"status": "offline"}).status_code == 401
    assert Miner.objects.get(pk=miner.pk).status == MinerStatus.IDLE


@pytest.mark.parametrize("body", [{}, {"status": "dead"}, {"status": None}, [], "idle"])
def test_a_status_that_is_none_is_refused(body: Any) -> None:
    miner, key = make_miner()
    assert call("post", f"/miner/{miner.pk}/status", key, body).json()["error_code"] == "INVALID_REQUEST"


def test_the_public_list_shows_no_key_and_no_address() -> None:
    miner, key = make_miner(ip_address="203.0.113.9", gpu_name="RTX 4090", model_ids=["qwen"])
    make_miner(trust=Trust.BANNED)
    text = call("get", "/miners").content.decode()
    for secret in (key, key[-32:], miner.key_prefix, miner.key_digest, "203.0.113.9", "mia_mk_"):
        assert secret not in text
    (row,) = call("get", "/miners").json()
    assert row.keys() == {
        "miner_id",
        "name",
        "gpu_name",
        "gpu_memory_mb",
        "models",
        "slots",
        "status",
        "trust",
        "job_count",
        "total_tokens_generated",
        "created_at",
        "last_active",
    }


def test_a_miner_sees_its_own_figures_and_why_attempts_did_not_count() -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner, acked=True)
    assert held.fence is not None
    with platform_scope():
        fault(held.pk, held.fence, AttemptOutcome.STALLED, reason="stalled", resume_text="", now=timezone.now())
    mine = call("get", "/miners/me", key).json()
    assert (mine["miner_id"], mine["fault_count"], mine["trust"]) == (miner.pk, 1, "verified")
    (refusal,) = mine["refusals"]
    assert (refusal["job"], refusal["outcome"], refusal["reason"]) == (str(held.pk), "stalled", "stalled")
    assert refusal["is_fault"] is True
    assert refusal["is_blamed"] is True


def test_own_figures_need_a_miners_key() -> None:
    _, banned = make_miner(trust=Trust.BANNED)
    for key in ("", "mia_mk_" + "0" * 42, banned):
        assert call("get", "/miners/me", key).status_code == 401


# --- Presence, on the hot lane


def beat(key: str, **fields: Any) -> dict[str, Any]:
    async def scenario() -> dict[str, Any]:
        answer = await Lane(key).post("/heartbeat", {"status": "busy", "slots_free": 1, **fields})
        assert answer.status == 200, answer
        return answer.data

    return dict(run(scenario))


def test_a_heartbeat_says_what_the_miner_does_and_how_its_gpu_is() -> None:
    miner, key = make_miner(last_active=timezone.now() - timedelta(hours=1))
    reply = beat(key, gpu={"memory_used_mb": 9000, "utilization": 97.5, "temperature": 71})
    assert (reply["status"], reply["jobs"], reply["drain"], reply["config"]) == ("ok", [], False, None)
    row = Miner.objects.get(pk=miner.pk)
    assert (row.status, row.slots_free) == (MinerStatus.BUSY, 1)
    assert row.gpu_stats == {"memory_used_mb": 9000.0, "utilization": 97.5, "temperature": 71.0}
    assert row.is_online(timezone.now())
    beat(key)
    assert Miner.objects.get(pk=miner.pk).gpu_stats["temperature"] == 71.0


def test_new_limits_are_told_once() -> None:
    miner, key = make_miner(slots=4)
    services.limit_slots(miner=miner, max_slots=2)
    assert beat(key)["config"]["max_slots"] == 2
    assert beat(key)["config"] is None


def test_a_drain_is_told_with_every_heartbeat() -> None:
    miner, key = make_miner()
    services.request_drain(miner=miner, drain=True)
    assert (beat(key)["drain"], beat(key)["drain"]) == (True, True)


def test_a_poll_is_a_sign_of_life_written_now_and_then() -> None:
    miner, key = make_miner(status=MinerStatus.OFFLINE, last_active=None)

    async def scenario() -> None:
        await Lane(key).next()
        await Lane(key).next()

    presence._noted_at.clear()
    run(scenario)
    row = Miner.objects.get(pk=miner.pk)
    assert row.status == MinerStatus.IDLE
    assert row.last_active is not None
    Miner.objects.update(last_active=None)
    run(scenario)
    assert Miner.objects.get(pk=miner.pk).last_active is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": "sleeping"},
        {"slots_free": -1},
        {"slots_free": 10**9},
        {"jobs": "none"},
        {"jobs": [{"job_id": "x", "fence": 1}]},
        {"jobs": [{"fence": 1}]},
        {"jobs": [{"job_id": "00000000-0000-0000-0000-000000000000", "fence": 2**70}]},
        {"gpu": {"temperature": "NaN"}},
        {"gpu": {"utilization": 101}},
        {"miner_id": "me"},
    ],
)
def test_a_malformed_heartbeat_is_refused(wrong: dict[str, Any]) -> None:
    miner, key = make_miner(last_active=None)

    async def scenario() -> tuple[int, str]:
        answer = await Lane(key).post("/heartbeat", wrong)
        return answer.status, answer.data["error_code"]

    assert run(scenario) == (400, "INVALID_REQUEST")
    assert Miner.objects.get(pk=miner.pk).last_active is None


def test_a_miner_cannot_beat_for_another() -> None:
    miner, key = make_miner()

    async def scenario() -> int:
        return (await Lane(key).post("/heartbeat", {"miner_id": miner.pk + 1})).status

    assert run(scenario) == 403
