"""Registration: keys, names, tokens, and platforms that are not there yet."""

import json
from pathlib import Path

import pytest

from gpu_miner.engines.scripted import Act
from gpu_miner.errors import NameTaken, Refused, Rejected
from gpu_miner.supervisor import Supervisor
from gpu_miner.tests.conftest import MinerStarter
from gpu_miner.tests.fake_platform import FakePlatform, Fault

HELLO = Act(text="Good morning", delay_ms=1)


def online(platform: FakePlatform, supervisor: Supervisor) -> None:
    platform.wait(lambda: supervisor.miner.state == "online" and platform.statuses)
    assert supervisor.failure is None


def stopped(supervisor: Supervisor) -> None:
    supervisor.drain()
    assert supervisor.wait(5)


def test_the_miner_introduces_itself(platform: FakePlatform, start_miner: MinerStarter) -> None:
    online(platform, start_miner(HELLO, slots=3))
    body = platform.bodies("/register_miner")[0]
    headers = platform.headers("/register_miner")[0]
    assert (body["name"], body["slots"], body["status"]) == ("m1", 3, "idle")
    assert body["models"][0]["backend"] == "scripted"
    assert body["agent"].startswith("mia-miner/")
    assert body["instance"] == headers["X-MIA-Instance"]
    assert "Authorization" not in headers


def test_the_second_start_uses_the_key_of_the_first(platform: FakePlatform, start_miner: MinerStarter) -> None:
    supervisor = start_miner(HELLO, enrolment_token="t")
    online(platform, supervisor)
    stopped(supervisor)
    online(platform, start_miner(HELLO, enrolment_token="t"))
    first, second = platform.bodies("/register_miner")
    assert platform.headers("/register_miner")[1]["Authorization"] == f"Bearer {platform.miners['m1']['auth_key']}"
    assert (first["enrolment_token"], second.get("enrolment_token")) == ("t", None)


def test_a_taken_name_is_explained(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.miners["m1"] = {"miner_id": "9", "auth_key": "another"}
    supervisor = start_miner(HELLO)
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, NameTaken)
    assert "choose another --name" in str(supervisor.failure)


def test_a_key_lost_with_its_reply_leads_to_another_name(
    platform: FakePlatform, start_miner: MinerStarter, tmp_path: Path
) -> None:
    platform.fail("/register_miner", Fault(lose="reply"))
    supervisor = start_miner(HELLO)
    online(platform, supervisor)
    stopped(supervisor)
    names = [body["name"] for body in platform.bodies("/register_miner")]
    assert names[:2] == ["m1", "m1"]
    assert names[2].startswith("m1-")
    online(platform, start_miner(HELLO))
    assert platform.bodies("/register_miner")[-1]["name"] == names[2]


def test_a_missing_token_is_asked_for(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.token = "secret"
    supervisor = start_miner(HELLO)
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, Refused)
    assert "MIA_ENROLMENT_TOKEN" in str(supervisor.failure)


def test_a_wrong_token_is_named(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.token = "secret"
    supervisor = start_miner(HELLO, enrolment_token="wrong")
    assert supervisor.wait(5)
    assert "does not accept this enrolment token" in str(supervisor.failure)


def test_the_right_token_opens_the_door(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.token = "secret"
    online(platform, start_miner(HELLO, enrolment_token="secret"))


def test_a_revoked_key_names_its_file(platform: FakePlatform, start_miner: MinerStarter, tmp_path: Path) -> None:
    supervisor = start_miner(HELLO)
    online(platform, supervisor)
    stopped(supervisor)
    platform.miners.clear()
    supervisor = start_miner(HELLO)
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, Refused)
    assert str(tmp_path) in str(supervisor.failure)


@pytest.mark.parametrize("fault", [Fault(status=503), Fault(lose="request"), Fault(raw=b"<html>", status=200)])
def test_the_miner_waits_for_a_platform_that_starts(
    platform: FakePlatform, start_miner: MinerStarter, fault: Fault
) -> None:
    platform.fail("/register_miner", fault, fault, fault)
    online(platform, start_miner(HELLO))
    assert len(platform.bodies("/register_miner")) == 4


def test_a_registration_the_platform_cannot_read_is_final(platform: FakePlatform, start_miner: MinerStarter) -> None:
    refusal = {"detail": {"name": ["too long"]}, "error_code": "INVALID_REQUEST"}
    platform.fail("/register_miner", Fault(status=400, body=refusal))
    supervisor = start_miner(HELLO)
    assert supervisor.wait(5)
    assert isinstance(supervisor.failure, Rejected)
    assert "name: ['too long']" in str(supervisor.failure)


def test_draining_ends_the_wait_for_a_platform(platform: FakePlatform, start_miner: MinerStarter) -> None:
    platform.fail("/register_miner", *[Fault(status=503)] * 200)
    supervisor = start_miner(HELLO)
    platform.wait(lambda: platform.bodies("/register_miner"))
    stopped(supervisor)
    assert supervisor.failure is None


def test_the_key_file_is_for_its_owner_only(platform: FakePlatform, start_miner: MinerStarter, tmp_path: Path) -> None:
    online(platform, start_miner(HELLO))
    key_file = next((tmp_path / "state").glob("m1-*.json"))
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert json.loads(key_file.read_text())["auth_key"] == platform.miners["m1"]["auth_key"]
