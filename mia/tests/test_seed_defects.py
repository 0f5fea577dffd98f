"""Defects of the first system that concern the platform as a whole, each by its number in the list of them."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import requests
from pytest_django import Settings

from accounts import jwks
from accounts.models import ApiKey
from accounts.tenancy import platform_scope
from accounts.tests.factories import JwtIssuerFactory
from accounts.tests.tokens import claims_for, sign
from mia.embedded.postgres import Postgres
from mia.tests.chaos.site import STRANGE, free_port, until
from mia.tests.sweep.api import PUBLIC, WHO_MAY, operations
from mia.tests.sweep.asgi import call, run
from mia.tests.sweep.conftest import _nothing_remembered, judge, world  # noqa: F401  (fixtures)
from mia.tests.sweep.identities import bearer, identities, ids_of
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.world import World
from miners.models import Job

ROOT = Path(__file__).parents[2]


@pytest.mark.django_db(transaction=True)
def test_m19_a_key_is_one_that_was_issued_comes_in_a_header_and_is_kept_as_a_digest(world: World) -> None:  # noqa: F811
    plain = world.keys["secret"]

    async def scenario() -> list[int]:
        body = b'{"message": "hello", "api_key": "%s"}' % plain.encode()
        json = {"Content-Type": "application/json"}
        answers = [await call("POST", "/chat", body=body, headers=json)]
        for key in ("x" * 16, "x" * 47, plain.swapcase(), plain[::-1]):
            answers.append(await call("POST", "/chat", body=body, headers={**json, **bearer(key)}))
        return [answer.status for answer in answers]

    assert run(scenario) == [401] * 5
    with platform_scope():
        key = ApiKey.objects.get(business=world.a.business, kind="secret")
    kept = " ".join(str(getattr(key, item.attname)) for item in ApiKey._meta.concrete_fields)
    assert plain not in kept
    assert plain[-16:] not in kept
    assert hashlib.sha256(plain.encode()).hexdigest() not in kept


@pytest.mark.django_db(transaction=True)
def test_m20_no_get_changes_a_row_but_a_miners_poll(world: World, judge: Judge) -> None:  # noqa: F811
    people = [identities(world)[name] for name in ("anonymous", "visitor", "server", "miner")]

    async def scenario() -> list[str]:
        changing = []
        for operation in operations():
            if not operation.is_safe:
                continue
            path = operation.address({**ids_of(world.a), "job_id": world.a[Job].pk})
            before = judge.watch.everything()
            for identity in people:
                assert (await call("GET", path, query="wait=0", headers=identity.headers)).status < 500
            if judge.watch.everything() != before:
                changing.append(operation.id)
        return changing

    assert run(scenario) == ["next_job"]


@pytest.mark.django_db(transaction=True)
def test_m24_hosts_that_hang_freeze_nobody_else(world: World, settings: Settings) -> None:  # noqa: F811
    """Fifty requests that each make us ask a host that never answers; the probe goes on as if nothing were."""
    with tarpit() as port:
        settings.OUTBOUND_ALLOW_PRIVATE, settings.OUTBOUND_ALLOWED_PORTS = True, [port]
        jwks.key_sets.clear()
        issuers = [
            JwtIssuerFactory(business=world.a.business, jwks_url=f"http://127.0.0.1:{port}/{number}")
            for number in range(25)
        ]
        tokens = [sign(claims_for(issuer), headers={"kid": "one"}) for issuer in issuers] * 2

        async def scenario() -> tuple[list[float], list[int]]:
            hung = [asyncio.create_task(call("GET", "/chat/config", headers=bearer(token))) for token in tokens]
            await asyncio.sleep(0.3)
            took = []
            for _ in range(20):
                started = time.monotonic()
                assert (await call("GET", "/health")).status == 200
                took.append(time.monotonic() - started)
            return took, [answer.status for answer in await asyncio.gather(*hung)]

        took, statuses = run(scenario)
    jwks.key_sets.clear()
    assert statistics.median(took) < 0.25
    assert max(took) < 1.5
    assert set(statuses) <= {401, 503}


@contextmanager
def tarpit() -> Iterator[int]:
    """A host that accepts and then says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(200)
        yield int(listener.getsockname()[1])


def test_m30_m41_a_process_is_ready_only_with_its_database_and_migrates_nothing(own_postgres: Postgres) -> None:
    """Alive all the time; not ready while migrations are missing, nor when PostgreSQL is gone."""
    with web_on(own_postgres) as url:
        assert requests.get(f"{url}/health", timeout=5).status_code == 200
        ready = requests.get(f"{url}/health/ready", timeout=6)
        assert ready.status_code == 503
        assert set(ready.json()) >= {"detail", "error_code", "timestamp"}
        with psycopg.connect(own_postgres.url) as database:
            tables = database.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone()
        assert tables == (0,)
        own_postgres.crash()
        assert requests.get(f"{url}/health/ready", timeout=6).status_code == 503
        assert requests.get(f"{url}/health", timeout=5).status_code == 200
        own_postgres.start()


@contextmanager
def web_on(postgres: Postgres) -> Iterator[str]:
    port = free_port()
    inherited = {name: value for name, value in os.environ.items() if name not in STRANGE}
    own = {
        "APP_ENV": "test",
        "SECRET_KEY": "m30" * 20,
        "DATABASE_URL": postgres.url,
        "REDIS_URL": os.environ["REDIS_URL"],
    }
    command = [sys.executable, str(ROOT / "manage.py"), "web", "--port", str(port)]
    process = subprocess.Popen(
        command, env=inherited | own, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: answers(url), "the process to answer", 30)
        yield url
    finally:
        process.kill()
        process.wait(10)


def answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/health", timeout=5).status_code == 200
    except requests.RequestException:
        return False


@pytest.mark.django_db(transaction=True)
def test_m31_nothing_is_public_but_what_is_meant_to_be(world: World) -> None:  # noqa: F811
    """Asked with no credential at all, everything else is a 401; and what is public tells no figure and no address."""
    meant = {
        "root_retrieve", "health_retrieve", "health_live_retrieve", "health_ready_retrieve",
        "health_detailed_retrieve", "list_miners",
    }  # fmt: skip
    assert {name for name, who in WHO_MAY.items() if who == PUBLIC} == meant

    async def scenario() -> dict[str, Any]:
        found = {}
        for operation in operations():
            path = operation.address({**ids_of(world.a), "job_id": world.own_job.pk, "miner_id": 1})
            found[operation.id] = await call(operation.method.upper(), path, query="wait=0")
        return found

    found = run(scenario)
    opened = {name for name, answer in found.items() if answer.status not in {401, 400}}
    assert opened == meant
    for word in ("203.0.113", "ip_address", "postgres://", "redis://", "income", "Traceback"):
        assert not [name for name, answer in found.items() if word in answer.text]
