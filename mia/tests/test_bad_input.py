"""Whatever is wrong with a request, wherever it goes: one error shape, nothing written, nothing told of the inside."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import timedelta
from math import ceil
from typing import Any, Final

import jwt
import pytest
from django.conf import settings
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.choices import KeyKind
from accounts.keys import new_key
from accounts.models import ApiKey
from accounts.tenancy import platform_scope
from accounts.tests.factories import ApiKeyFactory
from accounts.tests.tokens import raw_token
from mia.tests.sweep.admin_site import ENDS_THE_SESSION, AdminSweep, FormReader, pages
from mia.tests.sweep.api import WHO_MAY, Operation, forget_limits, operations, resolved
from mia.tests.sweep.asgi import Answer, call, run
from mia.tests.sweep.conftest import _nothing_remembered, judge, world  # noqa: F401  (fixtures)
from mia.tests.sweep.identities import Identity, bearer, identities, ids_of, ids_of_miner
from mia.tests.sweep.judge import INTERNALS, Judge
from mia.tests.sweep.rows import differing
from mia.tests.sweep.world import FOREIGN_ORIGIN, World
from miners.views import RegistrationThrottle

pytestmark = pytest.mark.django_db(transaction=True)

TIMESTAMP: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
CODE: Final = re.compile(r"[A-Z][A-Z0-9_]*")

BAD_BODIES: Final[dict[str, bytes]] = {
    "no JSON": b"hello",
    "half of JSON": b'{"message": "hel',
    "invalid UTF-8": b'{"message": "\xff\xfe", "name": "\xc3\x28"}',
    "UTF-16": '{"message": "hello"}'.encode("utf-16"),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "a NUL": b'{"message": "a\\u0000b"}',
    "half a surrogate pair": b'{"message": "\\ud800"}',
    "a list": b"[1, 2]",
    "a text": b'"hello"',
    "a number": b"7",
    "a key twice": b'{"message": "a", "message": "b"}',
    "NaN": b'{"message": NaN}',
    "infinity": b'{"message": -Infinity}',
    "1e400": b'{"message": 1e400}',
    "a huge number": b'{"message": ' + b"9" * 5000 + b"}",
    "depth": b'{"message": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "two values": b"{} {}",
}
BAD_QUERIES: Final = {
    "a NUL": "before=%00&bot_id=%00&wait=%00&slots=%00",
    "invalid UTF-8": "before=%ff&bot_id=%c3%28&wait=%ff&slots=%ff",
    "no numbers": "before=x&bot_id=x&wait=x&slots=x",
    "huge numbers": f"before={'9' * 400}&bot_id={'9' * 400}&wait={'9' * 400}&slots={'9' * 400}",
    "other numbers": "before=1e400&bot_id=NaN&wait=-1&slots=-1",
    "other digits": "before=%D9%A1&bot_id=%D9%A1&wait=%C2%B2&slots=%D9%A1",
    "many fields": "&".join(f"before{number}={number}&wait=-1&bot_id=x&before=x&slots=x" for number in range(300)),
}
WRONG_VALUES: Final[dict[str, list[Any]]] = {
    "string": [{"a": 1}, ["a"], True],
    "integer": ["x", [1], {"a": 1}, 1.5, 2**63],
    "number": ["x", [1], {"a": 1}, True],
    "boolean": ["perhaps", [True], {"a": True}],
    "array": ["x", {"a": 1}, 7],
    "object": ["x", [1], 7],
}
METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE", "TRACE")
PUBLIC_GETS: Final = frozenset(
    {"root_retrieve", "health_retrieve", "health_live_retrieve", "health_ready_retrieve", "health_detailed_retrieve"}
)


@dataclass
class Court:
    """Sends what is wrong to operations as somebody who may use them, and collects every answer that is not right."""

    world: World
    judge: Judge
    findings: list[str] = field(default_factory=list)
    answers: int = 0

    def caller(self, operation: Operation) -> Identity:
        people = identities(self.world)
        who = WHO_MAY[operation.id]
        return people["server" if "server" in who else "miner" if "miner" in who else "anonymous"]

    def ids(self, operation: Operation) -> dict[str, Any]:
        own = {**ids_of(self.world.a), "miner_id": self.world.miner.pk}
        is_miners = "miner" in WHO_MAY[operation.id]
        return {**own, **(ids_of_miner(self.world.miner, self.world.own_job) if is_miners else {})}

    async def send(
        self,
        operation: Operation,
        what: str,
        expected: Iterable[int],
        *,
        method: str = "",
        path: str = "",
        query: str = "",
        body: bytes | None = None,
        **headers: str,
    ) -> Answer:
        """One wrong request; `headers` replace those of the caller."""
        forget_limits()
        own = self.ids(operation)
        content = json.dumps(operation.body(own)).encode() if body is None and operation.body(own) else body or b""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"Content-Type": "application/json"} if content else {}
        answer = await call(
            method or operation.method.upper(),
            path or operation.address(own),
            query=query,
            body=content,
            headers={**given, **self.caller(operation).headers, **named},
        )
        self.answers += 1
        self.check(f"{operation.method.upper()} {operation.path}: {what}", answer, set(expected))
        return answer

    def check(self, what: str, answer: Answer, expected: set[int]) -> None:
        if answer.status not in expected:
            self.findings.append(f"{what}: {answer.status}, expected {expected}: {answer.body[:300]!r}")
        elif answer.status >= 400 and (flaw := flaw_of(answer)):
            self.findings.append(f"{what}: {flaw}: {answer.body[:300]!r}")

    async def each(self, chosen: Iterable[Operation], act: Callable[[Operation], Any]) -> None:
        """Does something to each operation, after which no table may have changed."""
        before = self.judge.watch.everything()
        for operation in chosen:
            await act(operation)
            after = self.judge.watch.everything()
            if changed := differing(before, after):
                self.findings.append(f"{operation.method.upper()} {operation.path}: wrote into {changed}")
            before = after


def flaw_of(answer: Answer) -> str:
    """What is wrong with an error; '' if nothing is."""
    if not answer.headers["content-type"].startswith("application/json"):
        return "not JSON"
    body = answer.json()
    # OpenAI's clients are told the same once more, in the shape that they read.
    if set(body) - {"error"} != {"detail", "error_code", "timestamp"}:
        return "another shape"
    if not (
        CODE.fullmatch(body["error_code"]) and TIMESTAMP.fullmatch(body["timestamp"]) and is_detail(body["detail"])
    ):
        return "another shape"
    if INTERNALS.search(answer.text):
        return "tells of the inside"
    if answer.status in {429, 503} and not answer.headers.get("retry-after", "").isdigit():
        return "no Retry-After"
    return ""


def is_detail(detail: Any) -> bool:
    if isinstance(detail, str):
        return bool(detail)
    return isinstance(detail, dict) and all(isinstance(texts, list) and texts for texts in detail.values())


@pytest.fixture
def court(world: World, judge: Judge) -> Iterator[Court]:  # noqa: F811
    court = Court(world, judge)
    yield court
    assert not court.findings, f"{len(court.findings)} of {court.answers}:\n" + "\n".join(court.findings[:40])
    assert court.answers


def with_bodies() -> list[Operation]:
    """Those that take JSON; a file's bytes have tests of their own in knowledge/tests/test_api.py."""
    return [operation for operation in operations() if "application/json" in operation.media_types]


def protected() -> list[Operation]:
    return [operation for operation in operations() if WHO_MAY[operation.id] and "*" not in WHO_MAY[operation.id]]


def fields_of(operation: Operation) -> tuple[dict[str, Any], list[str]]:
    shape = resolved(operation.described["requestBody"]["content"]["application/json"]["schema"])
    return {name: resolved(part) for name, part in shape.get("properties", {}).items()}, shape.get("required", [])


# --- Bodies


def test_a_body_that_is_no_sound_json_object_is_refused(court: Court) -> None:
    async def act(operation: Operation) -> None:
        for what, body in BAD_BODIES.items():
            await court.send(operation, what, {400}, body=body)

    run(lambda: court.each(with_bodies(), act))


def test_a_body_that_is_too_large_is_refused(court: Court) -> None:
    large = json.dumps({"message": "x" * settings.MAX_BODY_BYTES}).encode()

    async def act(operation: Operation) -> None:
        await court.send(operation, "a large body", {413}, body=large)
        await court.send(operation, "a large body to nobody", {413, 401}, body=large, Authorization="Bearer x")

    run(lambda: court.each(with_bodies(), act))


def test_another_content_type_is_refused(court: Court) -> None:
    async def act(operation: Operation) -> None:
        for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "x"):
            await court.send(operation, media_type, {415}, body=b"message=hello", Content_Type=media_type)

    run(lambda: court.each(with_bodies(), act))


def test_what_is_missing_is_named(court: Court) -> None:
    async def act(operation: Operation) -> None:
        body = operation.body(court.ids(operation)) or {}
        for name in fields_of(operation)[1]:
            rest = {key: value for key, value in body.items() if key != name}
            answer = await court.send(operation, f"without {name}", {400}, body=json.dumps(rest).encode())
            assert name in answer.json()["detail"], answer.body

    run(lambda: court.each(with_bodies(), act))


def test_a_value_of_another_type_is_refused(court: Court) -> None:
    async def act(operation: Operation) -> None:
        body = operation.body(court.ids(operation)) or {}
        for name, part in fields_of(operation)[0].items():
            for value in wrong_values(name, part):
                changed = json.dumps({**body, name: value}).encode()
                await court.send(operation, f"{name} = {str(value)[:40]}", {400}, body=changed)

    run(lambda: court.each(with_bodies(), act))


def wrong_values(name: str, part: dict[str, Any]) -> list[Any]:
    """What a field must not take, by what the schema says of it."""
    wrong = list(WRONG_VALUES.get(part.get("type", ""), []))
    if part.get("format") == "uuid":
        wrong.remove(True)  # A whole number is a UUID too, of something that does not exist.
    if "enum" in part:
        wrong.append("none of these")
    if part.get("format") in {"uuid", "email"}:
        wrong.append("no such thing")
    if "maxLength" in part:
        wrong.append("x" * (part["maxLength"] + 1))
    if "minimum" in part:
        wrong.append(part["minimum"] - 1)
    if "maximum" in part:
        wrong.append(part["maximum"] + 1)
    return wrong


# --- Addresses


def test_what_does_not_exist_is_not_found(court: Court) -> None:
    nowhere = "00000000-0000-4000-8000-000000000000"

    async def act(operation: Operation) -> None:
        for what, ids in {
            "an unknown id": {**dict.fromkeys(operation.path_names, nowhere), "miner_id": 2**40},
            "a word": dict.fromkeys(operation.path_names, "abc"),
            "a huge number": dict.fromkeys(operation.path_names, "9" * 400),
            "another script": dict.fromkeys(operation.path_names, "١٢٣"),
            "a way up": dict.fromkeys(operation.path_names, ".."),
            "a NUL": dict.fromkeys(operation.path_names, "\x00"),
            "a line break": dict.fromkeys(operation.path_names, "a\r\nb"),
        }.items():
            await court.send(operation, what, {404, 400}, path=operation.address(ids))

    # Who is let in nowhere is told nothing of what exists.
    run(lambda: court.each([item for item in operations() if item.path_names and WHO_MAY[item.id]], act))


def test_a_wrong_query_is_refused_or_ignored(court: Court) -> None:
    """Never a 500; and a parameter that is known is never taken for something else."""

    async def act(operation: Operation) -> None:
        for what, query in BAD_QUERIES.items():
            known = set(operation.query_names) & {"before", "bot_id", "wait", "slots"}
            await court.send(operation, what, {400} if known else {200, 400, 401}, query=query)

    chosen = [item for item in operations() if item.is_safe]
    run(lambda: court.each(chosen, act))


def test_another_method_is_refused(court: Court) -> None:
    by_path: dict[str, set[str]] = {}
    for operation in operations():
        by_path.setdefault(operation.path, set()).add(operation.method.upper())

    async def act(operation: Operation) -> None:
        for method in METHODS:
            if method not in by_path[operation.path]:
                await court.send(operation, method, {405, 401, 403}, method=method)

    run(lambda: court.each(operations(), act))


def test_an_address_that_is_none_is_not_found(court: Court) -> None:
    (root,) = operations(["root_retrieve"])

    async def scenario() -> None:
        for path in (
            "/nowhere",
            "/chat/",
            "//",
            "/job",
            "/.env",
            "/chat/%2e%2e",
            "/\x00",
            "/job/next/",
            "/ü",
            "/" + "x" * 9000,
        ):
            await court.send(root, path[:40], {404, 400}, path=path)

    run(scenario)


def test_wrong_headers_do_no_harm(court: Court) -> None:
    (chat,) = operations(["chat"])
    (messages,) = operations(["chat_messages"])
    (events,) = operations(["chat_events"])

    async def act(_operation: Operation) -> None:
        for key in ("x" * 256, "ü", "a\tb", "\x7f"):
            await court.send(chat, "Idempotency-Key", {400}, Idempotency_Key=key)
        for wait in ("wait=999", "wait=-1", "wait=x", "wait=1e3", "wait="):
            await court.send(chat, wait, {400}, Prefer=wait)
            await court.send(chat, wait, {400}, query=wait)
        for token in ("x", "x" * 5000, "a:b:c", "ü", "\x00"):
            await court.send(events, "a forged token", {401}, query="", X_Session_Token=token, Authorization="")
            await court.send(messages, "a forged token", {200}, X_Session_Token=token)
        for text in ("x", "1", "1.x", "9" * 30 + ".1", "-1.-1", "\xff"):
            await court.send(events, "Last-Event-ID", {200}, Last_Event_ID=text)

    run(lambda: court.each([chat], act))


def test_the_admin_takes_no_harm(world: World, judge: Judge) -> None:  # noqa: F811
    """Forms and lists, sent by the owner with texts that PostgreSQL cannot store and values that are no values."""
    sweep = AdminSweep(world, judge)
    owner = identities(world)["owner"]
    odd_lists = ["q=a%00b", "q=%ff%fe", "o=x.y&p=x", "p=-1&all=x", "id__exact=x", "created_at__gte=x", "e=1&_facets=x"]

    async def scenario() -> list[str]:
        broken = []
        for page in pages():
            if page.model is None or page.name in ENDS_THE_SESSION:
                continue
            path = page.path(sweep.values(page, world.a) | {"name": "resolve"})
            requests = [("GET", query, None) for query in odd_lists if page.name.endswith("_changelist")]
            form = FormReader((await sweep.send(page, owner, "GET", path)).body.decode()).form
            texts = dict.fromkeys([*form, "message", "words", "action", "_selected_action"], "a\x00b\ud7ff")
            requests += [("POST", "", texts), ("POST", "", {**texts, "message": "x" * 20_000})]
            for method, query, sent in requests:
                answer = await sweep.send(page, owner, method, path, query=query, form=sent)
                if answer.status >= 500:
                    broken.append(f"{method} {path}?{query}: {answer.status}")
        return broken

    assert run(scenario) == []
    assert not judge.findings
    assert sweep.answers > 100


# --- Credentials


def test_a_credential_that_is_none_is_refused_everywhere(court: Court) -> None:
    bad = bad_credentials(court.world)

    async def act(operation: Operation) -> None:
        for what, text in bad.items():
            answer = await court.send(operation, what, {401}, Authorization=text)
            assert answer.json()["error_code"] == "NOT_AUTHENTICATED", (what, answer.body)
        await court.send(operation, "another header", {401}, Authorization="", X_Api_Key="mia_sk_x")

    run(lambda: court.each(protected(), act))


def bad_credentials(world: World) -> dict[str, str]:  # noqa: F811
    """Keys that are malformed, forged, revoked or expired, and tokens that are no better."""
    business, good = world.a.business, world.keys["secret"]
    long_ago = timezone.now() - timedelta(days=1)
    expired = ApiKeyFactory(business=business, kind=KeyKind.SECRET, expires_at=long_ago).plain
    revoked = ApiKeyFactory(business=business, kind=KeyKind.SECRET, revoked_at=long_ago).plain
    now = int(time.time())
    claims = jwt.decode(world.dashboard.token(), options={"verify_signature": False})
    keys = {
        "nothing after Bearer": "",
        "a word": "secret",
        "half a key": good[:-1],
        "a key and more": good + "x",
        "another secret": good[:-4] + "0000",
        "another kind": good.replace("mia_sk_", "mia_mk_"),
        "a key of nobody": new_key(KeyKind.SECRET).plain,
        "a miner's key of nobody": new_key(KeyKind.MINER).plain,
        "a revoked key": revoked,
        "an expired key": expired,
        "other letters": good.replace("_", "＿"),
        "a long text": "x" * 20_000,
        "an expired token": world.dashboard.token(exp=now - 3600, iat=now - 7200),
        "a token of the future": world.dashboard.token(nbf=now + 3600),
        "a token for others": world.dashboard.token(aud="somebody"),
        "a token of nobody": world.dashboard.token(iss="https://nobody.example"),
        "a token without a signature": raw_token({"alg": "none", "typ": "JWT"}, claims, b""),
        "a token signed with the public key": jwt.encode(claims, "x" * 32, algorithm="HS256"),
    }
    return {
        **{what: f"Bearer {key}".encode().decode("latin-1") for what, key in keys.items()},
        "another scheme": "Basic YTpi",
    }


def test_a_key_that_was_revoked_is_refused_when_it_is_used_again(court: Court) -> None:
    (config,) = operations(["chat_config"])

    async def scenario() -> None:
        await court.send(config, "before", {200})

    run(scenario)
    with platform_scope():
        ApiKey.objects.filter(business=court.world.a.business).update(revoked_at=timezone.now())

    async def again() -> None:
        await court.send(config, "a replayed key", {401})

    run(again)


def test_a_foreign_page_is_refused_everywhere(court: Court) -> None:
    people = identities(court.world)

    async def act(operation: Operation) -> None:
        if "visitor" not in WHO_MAY[operation.id]:
            return
        for origin in (
            FOREIGN_ORIGIN,
            "null",
            "https://shop.example.evil.example",
            "http://shop.example",
            "",
            "x" * 3000,
        ):
            visitor = {**people["visitor"].headers, "Origin": origin}
            answer = await court.send(
                operation,
                f"from {origin[:30]}",
                {403},
                **{name.replace("-", "_"): text for name, text in visitor.items()},
            )
            assert answer.json()["error_code"] == "ORIGIN_NOT_ALLOWED"

    run(lambda: court.each([item for item in protected() if item.id != "chat_events"], act))


# --- Too many


def test_exactly_the_limit_passes_under_fifty_threads(transactional_db: None) -> None:
    """Neither fewer nor, by more than what flows in meanwhile, more."""
    bucket = RegistrationThrottle.bucket
    body = {"name": "somebody", "enrolment_token": "mia_et_wrong"}
    started = time.monotonic()

    def register(_number: int) -> Any:
        try:
            return Client().post("/register_miner", data=body, content_type="application/json")
        finally:
            connection.close()  # Django's client leaves that to the test, and these threads to nobody.

    with ThreadPoolExecutor(50) as pool:
        responses = list(pool.map(register, range(60)))
    flowed_in = ceil((time.monotonic() - started) * bucket.rate_per_s)
    refused = [response for response in responses if response.status_code == 429]
    passed = len(responses) - len(refused)
    assert bucket.burst <= passed <= bucket.burst + flowed_in
    for response in refused:
        assert response.json()["error_code"] == "RATE_LIMITED"
        assert int(response.headers["Retry-After"]) >= 1


def test_a_flood_with_one_key_is_slowed_down_and_told_when_to_come_back(court: Court) -> None:
    (chat,) = operations(["chat"])

    async def scenario() -> list[int]:
        own = court.ids(chat)
        body = json.dumps({"message": "hello", "session_id": own["session_id"]}).encode()
        forget_limits()
        headers = {**bearer(court.world.keys["secret"]), "Content-Type": "application/json"}
        answers = [await call("POST", "/chat", body=body, headers=headers) for _ in range(12)]
        for answer in answers:
            court.check("a flood", answer, {200, 429})
        court.answers += len(answers)
        return [answer.status for answer in answers]

    statuses = run(scenario)
    assert statuses[:5] == [200] * 5
    assert 429 in statuses
