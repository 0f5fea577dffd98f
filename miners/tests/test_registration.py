"""How a machine joins the network, and how nobody takes its name."""

import threading
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from miners import services
from miners.choices import Trust
from miners.models import EnrolmentToken, Miner

pytestmark = pytest.mark.django_db(transaction=True)

CARD = {
    "name": "berlin-1",
    "agent": "gpu_miner/1.0",
    "instance": "a1",
    "models": [
        {"id": "qwen", "backend": "exllamav2", "quant": "4.0bpw", "max_context": 8192, "features": ["tools", "json"]},
        {"id": "llama", "max_context": 4096, "features": ["json"]},
    ],
    "gpus": [{"name": "RTX 4090", "vram_mb": 24564}],
    "slots": 4,
    "bench": {"decode_tps_1": 61.5},
}


def register(*, key: str = "", **fields: Any) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return Client().post("/register_miner", {**CARD, **fields}, content_type="application/json", headers=headers)


def make_token(**fields: Any) -> str:
    given = {"name": "Berlin", "trust": Trust.PROBATION, "max_uses": 5, **fields}
    return services.create_enrolment_token(**given)[1]


def refused(reply: Any) -> tuple[int, str]:
    assert set(reply.json()) == {"detail", "error_code", "timestamp"}
    return reply.status_code, reply.json()["error_code"]


def test_a_token_makes_a_miner_and_its_key_is_shown_once() -> None:
    token = make_token(trust=Trust.VERIFIED)
    reply = register(enrolment_token=token)
    body = reply.json()
    assert reply.status_code == 201
    assert body["auth_key"].startswith("mia_mk_")
    assert (body["state"], body["message"]) == ("verified", "Miner registered successfully")
    assert body["config"] == {
        "poll_wait_ms": 25000,
        "offer_ms": 5000,
        "lease_ms": 15000,
        "renew_ms": 5000,
        "flush_ms": 120,
        "heartbeat_ms": 5000,
        "max_slots": 4,
    }
    miner = Miner.objects.get(pk=body["miner_id"])
    assert (miner.model_ids, miner.features, miner.max_context) == (["llama", "qwen"], ["json", "tools"], 8192)
    assert (miner.gpu_name, miner.gpu_memory_mb, miner.slots) == ("RTX 4090", 24564, 4)
    assert EnrolmentToken.objects.get().uses == 1


def test_the_first_protocols_registration_works_with_a_token_as_bearer() -> None:
    seed = {"name": "old-1", "ip_address": "10.0.0.7", "gpu_name": "RTX 3060", "gpu_memory_mb": 12288, "status": "idle"}
    reply = Client().post(
        "/register_miner",
        seed,
        content_type="application/json",
        headers={"authorization": f"Bearer {make_token()}"},
    )
    assert reply.status_code == 201
    miner = Miner.objects.get()
    assert (miner.is_first_protocol, miner.slots, miner.gpu_name) == (True, 1, "RTX 3060")


def test_without_a_token_nobody_registers() -> None:
    assert refused(register()) == (401, "ENROLMENT_REQUIRED")
    assert not Miner.objects.exists()


@pytest.mark.parametrize("state", ["unknown", "revoked", "expired", "used up", "misspelt"])
def test_a_token_that_is_no_good_registers_nobody(state: str) -> None:
    now = timezone.now()
    token = make_token(max_uses=1, expires_at=now - timedelta(seconds=1) if state == "expired" else None)
    if state == "unknown":
        token = "mia_et_" + "0" * 40
    if state == "misspelt":
        token = token[:-1] + ("a" if token[-1] != "a" else "b")
    if state == "revoked":
        services.revoke_enrolment_token(token=EnrolmentToken.objects.get(), now=now)
    if state == "used up":
        register(enrolment_token=token, name="the-first")
    assert refused(register(enrolment_token=token)) == (401, "ENROLMENT_REQUIRED")
    assert not Miner.objects.filter(name=CARD["name"]).exists()


def test_open_registration_starts_in_probation(settings: Any) -> None:
    settings.MINER_REGISTRATION = "open"
    reply = register()
    assert (reply.status_code, reply.json()["state"]) == (201, "probation")


def test_a_wrong_token_is_refused_even_where_registration_is_open(settings: Any) -> None:
    settings.MINER_REGISTRATION = "open"
    assert refused(register(enrolment_token="mia_et_" + "0" * 40))[0] == 401


def test_a_name_that_is_taken_answers_409_and_shows_no_key() -> None:
    token = make_token()
    first = register(enrolment_token=token).json()
    for key in ("", "mia_mk_" + "0" * 42, token):
        reply = register(key=key, enrolment_token=token, gpus=[{"name": "Stolen"}])
        assert refused(reply) == (409, "NAME_TAKEN")
        assert first["auth_key"] not in reply.content.decode()
    miner = Miner.objects.get()
    assert miner.gpu_name == "RTX 4090"


def test_who_shows_the_key_updates_the_miner_and_gets_no_new_one() -> None:
    key = register(enrolment_token=make_token()).json()["auth_key"]
    services.set_trust(Miner.objects.get(), Trust.TRUSTED, reason="known", now=timezone.now())
    reply = register(key=key, slots=2, models=[{"id": "new", "max_context": 1024}])
    assert (reply.status_code, reply.json()["auth_key"], reply.json()["state"]) == (200, None, "trusted")
    miner = Miner.objects.get()
    assert (miner.slots, miner.model_ids, miner.max_context) == (2, ["new"], 1024)


def test_two_machines_behind_one_address_are_two_miners() -> None:
    token = make_token()
    ids = {register(enrolment_token=token, name=name, ip_address=None).json()["miner_id"] for name in ("a", "b")}
    assert len(ids) == 2


def test_the_address_is_the_connections_and_not_the_miners_word() -> None:
    register(enrolment_token=make_token(), ip_address="8.8.8.8")
    assert Miner.objects.get().ip_address == "127.0.0.1"


def test_of_two_machines_with_one_name_at_once_one_wins() -> None:
    token, replies = make_token(), []

    def call() -> None:
        replies.append(register(enrolment_token=token))
        connection.close()

    threads = [threading.Thread(target=call) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(reply.status_code for reply in replies) == [201] + [409] * 5
    assert EnrolmentToken.objects.get().uses == 1


def test_registrations_are_limited_per_address() -> None:
    assert [register().status_code for _ in range(21)][-1] == 429


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"name": "x" * 101},
        {"name": "<script>"},
        {"name": None},
        {"slots": 0},
        {"slots": 65},
        {"slots": "many"},
        {"gpu_memory_mb": -1},
        {"gpu_memory_mb": 10**12},
        {"models": "qwen"},
        {"models": [{}]},
        {"models": [{"id": "x", "max_context": 0}]},
        {"models": [{"id": "x"}] * 51},
        {"bench": {"decode_tps_1": "NaN"}},
        {"bench": {"decode_tps_1": "1e999"}},
        {"bench": {"decode_tps_1": True}},
        {"status": "sleeping"},
        {"agent": "\x00"},
        {"enrolment_token": ["x"]},
    ],
)
def test_a_malformed_registration_is_refused(wrong: dict[str, Any]) -> None:
    reply = register(**{"enrolment_token": make_token(), **wrong})
    assert refused(reply) == (400, "INVALID_REQUEST")
    assert not Miner.objects.exists()
    assert EnrolmentToken.objects.get().uses == 0
