"""The seed's defects that touch the network, by their numbers: each would come back as a failing test."""

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.choices import KeyKind
from accounts.keys import new_key
from accounts.tenancy import platform_scope
from miners import reaper, services
from miners.choices import JobState, MinerStatus, Trust
from miners.models import Job, Miner
from miners.network import Latency, snapshot
from miners.tests.factories import hold, make_job, make_miner, reload
from miners.tests.lane import Lane, call, run

pytestmark = pytest.mark.django_db(transaction=True)

CARD = {"name": "berlin-1", "gpu_name": "RTX 4090", "gpu_memory_mb": 24564, "status": "idle"}


def send(method: str, path: str, key: str = "", body: Any = None) -> Any:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return getattr(Client(), method)(path, body, content_type="application/json", headers=headers)


def register(**fields: Any) -> Any:
    token = services.create_enrolment_token(name="t", trust=Trust.PROBATION, max_uses=9)[1]
    return send("post", "/register_miner", "", {**CARD, "enrolment_token": token, **fields})


def submit(key: str, job: Job, **fields: Any) -> Any:
    body = {"job_id": str(job.pk), "fence": str(job.fence), "output": "An answer.", "success": True, **fields}
    return send("post", "/job/result", key, body)


def test_m01_the_list_of_miners_holds_no_key_and_no_address() -> None:
    key = register(ip_address="203.0.113.9").json()["auth_key"]
    text = send("get", "/miners").content.decode()
    assert "berlin-1" in text
    for secret in (key, key[17:], "auth_key", "ip_address", "203.0.113.9", "127.0.0.1", "mia_mk_"):
        assert secret not in text


def test_m02_a_name_that_is_taken_gives_no_key() -> None:
    key = register().json()["auth_key"]
    again = register()
    assert again.status_code == 409
    assert key not in again.content.decode()


def test_m03_machines_behind_one_address_have_keys_of_their_own() -> None:
    one, two = register(name="a", ip_address="unknown").json(), register(name="b", ip_address="unknown").json()
    assert one["miner_id"] != two["miner_id"]
    assert one["auth_key"] != two["auth_key"]


@pytest.mark.parametrize("who", ["nobody", "a stranger", "another miner", "a banned miner", "a tenant"])
def test_m04_no_miners_endpoint_works_without_the_right_key(who: str) -> None:
    holder, _ = make_miner()
    held = hold(make_job(), holder, acked=True)
    waiting = make_job()
    key = {
        "nobody": "",
        "a stranger": new_key(KeyKind.MINER).plain,
        "another miner": make_miner(trust=Trust.SUSPECT)[1],
        "a banned miner": make_miner(trust=Trust.BANNED)[1],
        "a tenant": new_key(KeyKind.SECRET).plain,
    }[who]
    assert submit(key, held, miner_id=holder.pk).status_code in {401, 403, 404}
    assert send("post", f"/miner/{holder.pk}/status", key, {"status": "offline"}).status_code in {401, 403, 404}

    async def scenario() -> list[int]:
        lane = Lane(key)
        piece = {"job_id": str(held.pk), "fence": str(held.fence), "offset": 0, "text": "mine"}
        return [
            (await lane.get("/job/next", f"wait=0&miner_id={holder.pk}")).status,
            (await lane.post("/job/claim", {"wait": 0, "miner_id": holder.pk})).status,
            (await lane.post("/heartbeat", {"miner_id": holder.pk})).status,
            (await lane.post("/job/chunks", {"jobs": [piece], "miner_id": holder.pk})).status,
        ]

    polled, claimed, beaten, chunked = run(scenario)
    assert {polled, claimed, beaten} <= {401, 403}
    assert chunked in {401, 403} or who == "another miner"
    assert (reload(held).state, reload(held).output) == (JobState.RUNNING, "")
    assert reload(waiting).state == JobState.QUEUED
    assert Miner.objects.get(pk=holder.pk).status == MinerStatus.IDLE


def test_m05_m06_a_miner_cannot_name_an_address_to_be_called() -> None:
    miner, key = make_miner()
    columns = "name", "ip_address", "key_prefix", "key_digest"
    before = Miner.objects.values(*columns).get(pk=miner.pk)
    evil = {"public_url": "http://169.254.169.254/", "url": "http://evil.example/", "ip_address": "6.6.6.6"}

    async def scenario() -> int:
        return (await Lane(key).post("/heartbeat", {"miner_id": miner.pk, **evil})).status

    assert run(scenario) == 200
    assert Miner.objects.values(*columns).get(pk=miner.pk) == before
    assert not [field.name for field in Miner._meta.get_fields() if "url" in field.name]


def test_m07_a_miner_that_dies_with_its_jobs_loses_none() -> None:
    jobs = [make_job() for _ in range(20)]
    for number, job in enumerate(jobs):
        hold(job, make_miner()[0], acked=number % 2 == 0)
    with platform_scope():
        Job.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    assert reaper.reap(now=timezone.now()) == 20
    assert {reload(job).state for job in jobs} == {JobState.QUEUED}


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [{"role": "user"}],
        [{"role": "user", "content": None}],
        [{"role": "user", "content": {"a": ["dict"]}}],
        [{"role": "user", "content": [{"type": "text", "text": "parts"}]}],
        [{"role": "system", "content": 5}, {"role": "tool", "tool_call_id": "1", "content": "x"}],
    ],
)
def test_m08_no_prompt_breaks_the_answer_to_a_poll(messages: list[dict[str, Any]]) -> None:
    job = make_job(messages=messages)
    _, key = make_miner()

    async def scenario() -> dict[str, Any]:
        return (await Lane(key).get("/job/next", "wait=0")).data

    reply = run(scenario)
    assert reply["job_id"] == str(job.pk)
    assert reply["jobs"][0]["messages"] == messages
    assert isinstance(reply["prompt"], str)


def test_m09_only_the_holder_of_the_lease_writes_the_answer() -> None:
    held = hold(make_job(), make_miner()[0], acked=True)
    _, stranger = make_miner()
    assert submit(stranger, held, output="Buy gold at evil.example").status_code == 403
    assert reload(held).output == ""


def test_m10_a_second_result_changes_nothing_and_an_unknown_job_is_not_found() -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner, acked=True)
    assert submit(key, held).json()["duplicate"] is False
    again = submit(key, held, output="Something else.")
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    assert reload(held).output == "An answer."
    held.pk = uuid4()
    assert submit(key, held).status_code == 404


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e400", "-1", "true", "9" * 400, '"NaN"'])
def test_m14_numbers_that_are_none_are_refused_everywhere(number: str) -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner, acked=True)
    for field in ("tokens_generated", "fence"):
        body = f'{{"job_id": "{held.pk}", "output": "x", "{field}": {number}}}'
        assert send("post", "/job/result", key, body).status_code == 400

    async def scenario() -> list[int]:
        lane = Lane(key)
        piece = f'{{"job_id": "{held.pk}", "fence": {held.fence}, "text": "x", "offset": {number}}}'
        return [
            (await lane.post("/heartbeat", f'{{"slots_free": {number}}}'.encode())).status,
            (await lane.post("/heartbeat", f'{{"gpu": {{"utilization": {number}}}}}'.encode())).status,
            (await lane.post("/job/claim", f'{{"wait": {number}}}'.encode())).status,
            (await lane.post("/job/chunks", f'{{"jobs": [{piece}]}}'.encode())).status,
            (await lane.get("/job/next", f"slots={number.strip(chr(34))}")).status,
        ]

    assert set(run(scenario)) == {400}
    assert reload(held).state == JobState.RUNNING


def test_m25_who_is_there_is_known_to_every_process_and_survives_all_of_them() -> None:
    """Two event loops stand for two processes; neither keeps anything of its own."""
    miner, key = make_miner(last_active=None, status=MinerStatus.OFFLINE)

    async def beat() -> None:
        assert (await Lane(key).post("/heartbeat", {"status": "busy", "slots_free": 0})).status == 200

    async def poll() -> None:
        await Lane(key).next()

    run(beat)
    run(poll)
    with platform_scope():
        (row,) = snapshot(now=timezone.now(), latency=Latency(None, None, None, None)).miners
    assert row["id"] == miner.pk
    assert Miner.objects.get(pk=miner.pk).status == MinerStatus.BUSY


def test_m27_tokens_and_jobs_are_counted_by_us_and_once() -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner, acked=True)
    assert Miner.objects.get(pk=miner.pk).job_count == 0
    for _ in range(3):
        submit(key, held, output="Four words of text.", tokens_generated=10**7)
    row = Miner.objects.get(pk=miner.pk)
    assert row.job_count == 1
    assert row.total_tokens_generated <= len("Four words of text.")


def test_m28_nobody_becomes_a_miner_by_reporting() -> None:
    async def scenario() -> int:
        return (await Lane("").post("/heartbeat", {"miner_id": 999_999})).status

    assert run(scenario) == 401
    assert not Miner.objects.exists()


def test_m29_errors_say_nothing_of_the_inside() -> None:
    _, key = make_miner()
    replies = [
        send("post", "/job/result", key, "{").content,
        send("post", "/job/result", key, {"job_id": "'; DROP TABLE miners_job; --"}).content,
        send("post", "/register_miner", "", {"name": "x" * 10_000}).content,
        send("get", f"/miner/{'9' * 30}/status", key).content,
    ]
    for reply in replies:
        assert json.loads(reply).keys() == {"detail", "error_code", "timestamp"}
        for leak in (b"Traceback", b"psycopg", b'File "', b"django", b'miners_job"'):
            assert leak not in reply


@pytest.mark.parametrize(
    ("query", "status"),
    [("slots=0", 400), ("slots=65", 400), ("slots=-1", 400), ("wait=56", 400), ("wait=-1", 400), ("idle=maybe", 400)],
)
def test_m34_every_field_of_a_poll_has_its_limits(query: str, status: int) -> None:
    _, key = make_miner()

    async def scenario() -> int:
        return (await Lane(key).get("/job/next", query)).status

    assert run(scenario) == status


def test_m34_every_field_of_a_chunk_has_its_limits() -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner, acked=True)
    good = {"job_id": str(held.pk), "fence": str(held.fence), "offset": 0, "text": "x", "tokens": 1}
    wrong = [
        {"offset": -1},
        {"offset": 10**9},
        {"text": "x" * 65_537},
        {"text": None},
        {"text": ["x"]},
        {"tokens": -1},
        {"fence": "x"},
        {"job_id": "5"},
    ]

    async def scenario() -> list[int]:
        replies = [(await Lane(key).post("/job/chunks", {"jobs": [good | change]})).status for change in wrong]
        replies.append((await Lane(key).post("/job/chunks", {"jobs": [good] * 65})).status)
        replies.append((await Lane(key).post("/job/chunks", [])).status)
        return replies

    assert set(run(scenario)) == {400}


def test_m39_the_database_holds_no_usable_key() -> None:
    token = services.create_enrolment_token(name="t", trust=Trust.PROBATION, max_uses=9)[1]
    key = send("post", "/register_miner", "", {**CARD, "enrolment_token": token}).json()["auth_key"]
    with platform_scope(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT string_agg(m::text, '') FROM miners_miner m), (SELECT string_agg(e::text, '')"
            " FROM miners_enrolmenttoken e)"
        )
        dump = "".join(cursor.fetchone())
    for secret in (key, token):
        assert secret not in dump
        assert secret[-32:] not in dump


def test_m40_a_job_of_two_minutes_keeps_its_lease_by_heartbeats() -> None:
    miner, key = make_miner()
    held = hold(make_job(), miner)

    async def beat() -> list[str]:
        return await Lane(key).beat((str(held.pk), str(held.fence), "prefill"))

    for _ in range(3):
        assert run(beat) == ["ok"]
        with platform_scope():
            Job.objects.filter(pk=held.pk).update(lease_until=timezone.now() + timedelta(seconds=1))
        assert reaper.reap(now=timezone.now()) == 0
    row = Miner.objects.get(pk=miner.pk)
    assert row.is_online(timezone.now())
    assert reload(held).state == JobState.RUNNING


def test_m43_large_bodies_are_refused_before_they_are_read() -> None:
    _, key = make_miner()

    async def scenario() -> list[int]:
        body = b'{"jobs": "' + b"x" * (1024 * 1024) + b'"}'
        return [(await Lane(key).post(path, body)).status for path in ("/heartbeat", "/job/chunks", "/job/claim")]

    assert run(scenario) == [413, 413, 413]


@pytest.mark.parametrize(
    "body", [b"{", b"\xff\xfe", b'{"jobs": "\\u0000"}', b'{"a": 1, "a": 2}', b"[" * 100_000, b"null"]
)
def test_bad_bodies_on_the_hot_lane_are_400_in_the_error_shape(body: bytes) -> None:
    _, key = make_miner()

    async def scenario() -> None:
        for path in ("/heartbeat", "/job/chunks", "/job/claim"):
            answer = await call(path, "POST", body, "", {"authorization": f"Bearer {key}"})
            assert (answer.status, answer.data.keys()) == (400, {"detail", "error_code", "timestamp"})

    run(scenario)
