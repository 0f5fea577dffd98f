"""Every operation of the OpenAPI schema, tried by everybody with the ids of others."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice
from typing import Any, Final
from urllib.parse import urlencode

from drf_spectacular.generators import SchemaGenerator

from mia.lib.redis import sync_redis
from mia.tests.sweep.asgi import Answer, call
from mia.tests.sweep.identities import Identity, field_values, identities, ids_of, ids_of_miner, link_names
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.world import World

Json = dict[str, Any]

AT_ONCE: Final = 16
FILTERING: Final = frozenset({"visitor", "server", "miner"})
"""One of each sort, for the many requests that try undeclared filters."""
METHODS: Final = ("get", "post", "put", "patch", "delete")
CHAT: Final = frozenset({"visitor", "server", "dashboard", "dashboard's agent", "dashboard's visitor"})
API: Final = frozenset({"server", "API client"})
TRAINING: Final = frozenset({"server", "dashboard"})
MINER: Final = frozenset({"miner"})
PUBLIC: Final = frozenset({"*"})
NOBODY: Final = frozenset[str]()

WHO_MAY: Final[dict[str, frozenset[str]]] = {
    "root_retrieve": PUBLIC,
    "health_retrieve": PUBLIC,
    "health_live_retrieve": PUBLIC,
    "health_ready_retrieve": PUBLIC,
    "health_detailed_retrieve": PUBLIC,
    "list_miners": PUBLIC,
    # Here nobody has a token, the name is taken, and business staff are no platform staff.
    "register_miner": NOBODY,
    "metrics": NOBODY,
    "chat": CHAT,
    "chat_config": CHAT,
    "chat_csat": CHAT,
    # The session's token is enough for its stream, as an EventSource sends no key.
    "chat_events": CHAT | {"no page"},
    "chat_feedback": CHAT,
    "chat_handoff": CHAT,
    "chat_lead": CHAT,
    "chat_messages": CHAT,
    "chat_stream_token": CHAT,
    "chat_typing": CHAT,
    "job_result": CHAT,
    "cancel_job": CHAT,
    "queue_training": TRAINING,
    "delete_training_source": TRAINING,
    "list_training_sources": TRAINING,
    "add_training_source": TRAINING,
    "training_job": TRAINING,
    "init_training_upload": TRAINING,
    "finalize_training_upload": TRAINING,
    # Whoever holds the ticket; here nobody does.
    "upload_training_file": NOBODY,
    "v1_models": API,
    "v1_model": API,
    "v1_chat_completions": API,
    "v1_embeddings": API,
    "next_job": MINER,
    "claim_job": MINER,
    "heartbeat": MINER,
    "append_job_chunks": MINER,
    "submit_job_result": MINER,
    "set_miner_status": MINER,
    "get_own_miner": MINER,
}
"""Who may use each operation, reviewed by hand; a new operation fails the sweep until it stands here."""

PUBLIC_EVEN_WITH_A_BAD_CREDENTIAL: Final = {
    "root_retrieve", "health_retrieve", "health_live_retrieve", "health_ready_retrieve", "health_detailed_retrieve",
}  # fmt: skip
CHANGES_ALTHOUGH_GET: Final = {"next_job": "a poll claims: the first protocol's clients ask so"}
REMOVES_ITS_OWN: Final = {"delete_training_source"}
"""Tried last, as the others need the row."""
ISSUES_KEYS: Final = {"register_miner"}
EXTRA_FIELDS: Final[dict[str, Json]] = {
    "chat": {"message": "What does a tyre cost?"},
    "chat_lead": {"email": "visitor@example.org"},
    # A stream is left as soon as it begins; a whole answer would be waited for.
    "v1_chat_completions": {"messages": [{"role": "user", "content": "A tyre?"}], "stream": True},
    "v1_embeddings": {"model": "character-n-grams", "input": "a tyre"},
    "register_miner": {"name": "miner-m"},
    "claim_job": {"wait": 0},
    "add_training_source": {"location": "https://a.example/"},
    "init_training_upload": {"files": [{"name": "a.txt", "size_bytes": 1, "sha256": "0" * 64}]},
}
IGNORED: Final = {
    ("submit_job_result", "session_id"): "opaque to miners, and good for nothing",
    ("submit_job_result", "model"): "a name that the miner's owner chose",
}
OWN_STATUS: Final = {
    "submit_job_result": {200, 409, 410},
    "queue_training": {200, 409},
    "add_training_source": {200, 409},
    "delete_training_source": {200, 404},
}
"""Where the first of several calls is the only one that can be taken."""


@cache
def schema() -> Json:
    return SchemaGenerator().get_schema(request=None, public=True)


@dataclass(frozen=True)
class Operation:
    """One operation of the schema."""

    path: str
    method: str
    described: Json = field(hash=False, compare=False)

    @property
    def id(self) -> str:
        return str(self.described["operationId"])

    @property
    def is_safe(self) -> bool:
        return self.method == "get"

    @property
    def path_names(self) -> list[str]:
        return [item["name"] for item in self.described.get("parameters", []) if item["in"] == "path"]

    @property
    def query_names(self) -> list[str]:
        return [item["name"] for item in self.described.get("parameters", []) if item["in"] == "query"]

    @property
    def media_types(self) -> set[str]:
        return set(self.described.get("requestBody", {}).get("content", {}))

    def address(self, ids: Json) -> str:
        path = self.path
        for name in self.path_names:
            path = path.replace("{" + name + "}", str(ids[name]))
        return path

    def body(self, ids: Json) -> Json | None:
        """All that is required, and all that names a row."""
        content = self.described.get("requestBody", {}).get("content", {})
        if "application/json" not in content:
            return None
        made = example(content["application/json"]["schema"], ids)
        return {**made, **EXTRA_FIELDS.get(self.id, {})}


def operations(only: Iterable[str] = ()) -> list[Operation]:
    chosen = set(only)
    found = [
        Operation(path, method, described)
        for path, item in schema()["paths"].items()
        for method, described in item.items()
        if method in METHODS
    ]
    return [operation for operation in found if not chosen or operation.id in chosen]


def resolved(part: Json) -> Json:
    while "$ref" in part:
        part = schema()["components"]["schemas"][part["$ref"].rsplit("/", 1)[1]]
    if "allOf" in part:
        return {key: value for item in part["allOf"] for key, value in resolved(item).items()}
    return part


def example(part: Json, ids: Json) -> Any:
    """A sound value for a schema."""
    part = resolved(part)
    if "enum" in part:
        return part["enum"][0]
    if "oneOf" in part:
        return example(part["oneOf"][0], ids)
    match part.get("type"):
        case "object":
            properties = part.get("properties", {})
            wanted = [
                name
                for name in properties
                if name in part.get("required", []) or names_rows(name, properties[name], ids)
            ]
            return {name: ids[name] if name in ids else example(properties[name], ids) for name in wanted}
        case "array":
            return [example(part["items"], ids)]
        case "integer" | "number":
            return part.get("minimum", 0)
        case "boolean":
            return True
    return "text"


def names_rows(name: str, part: Json, ids: Json) -> bool:
    if name in ids:
        return True
    part = resolved(part)
    if part.get("type") == "array":
        return any(
            names_rows(inner, value, ids) for inner, value in resolved(part["items"]).get("properties", {}).items()
        )
    return False


def declared_ids(body: Json | None) -> list[str]:
    """The names in a body that stand for rows; those of nested objects count for their list."""
    return [name for name in body or {} if names_a_row(name) or isinstance((body or {})[name], list)]


def names_a_row(name: str) -> bool:
    """OpenAI's `model` may be a bot."""
    return name.endswith("_id") or name == "model"


@dataclass(frozen=True)
class Probe:
    """One request, and whether it names rows of a stranger where the schema has a place for them."""

    operation: Operation
    path: str
    query: str = ""
    body: Json | None = None
    names: str = ""
    in_path: bool = False
    is_declared: bool = False


class ApiSweep:
    """Goes through the operations; `visited` are the addresses that somebody was let into."""

    def __init__(self, world: World, judge: Judge) -> None:
        self.world = world
        self.judge = judge
        self.people = identities(world)
        self.visited: set[tuple[str, str]] = set()
        self.answers = 0

    async def run(self, only: Iterable[str] = (), people: Iterable[str] = ()) -> None:
        chosen = set(people)
        for operation in sorted(operations(only), key=lambda operation: operation.id in REMOVES_ITS_OWN):
            for identity in self.people.values():
                if not chosen or identity.name in chosen:
                    await self.visit(operation, identity)

    async def visit(self, operation: Operation, identity: Identity) -> None:
        """All probes of one operation by one identity."""
        forget_limits()
        what = f"{identity.name}: {operation.method.upper()} {operation.path}"
        before = self.judge.watch.everything() if operation.is_safe else {}
        own = self.own_ids(identity)
        answer = await self.send(
            Probe(operation, operation.address(own), self.query(operation, own), operation.body(own)), identity
        )
        self.judge_own(what, operation, identity, answer)
        for probes in batched(
            self.probes(operation, identity, own, was_let_in=answer.status < 400), AT_ONCE if operation.is_safe else 1
        ):
            forget_limits()
            for probe, reply in zip(
                probes, await asyncio.gather(*(self.send(probe, identity) for probe in probes)), strict=True
            ):
                self.judge_foreign(operation, identity, probe, reply)
        self.judge.look_at_rows(what)
        if before and operation.id not in CHANGES_ALTHOUGH_GET:
            for table in differing_tables(before, self.judge.watch.everything()):
                self.judge.find(what, f"changed {table} although it only asked")

    # --- What is tried

    def own_ids(self, identity: Identity) -> Json:
        own = {**ids_of(self.world.a), "miner_id": self.world.miner.pk}
        return {**own, **ids_of_miner(self.world.miner, self.world.own_job)} if identity.name == "miner" else own

    def foreign_ids(self, identity: Identity) -> dict[str, Json]:
        found = {
            owner.letter: {**ids_of(owner), "miner_id": self.world.other_miner.pk}
            for owner in identity.victims(self.world)
        }
        if identity.name == "miner":
            found["M"] = {**found["B"], **ids_of_miner(self.world.other_miner, self.world.held_job)}
        return found

    def query(self, operation: Operation, ids: Json) -> str:
        given = {name: ids[name] for name in operation.query_names if name in ids}
        return urlencode({**given, **({"wait": 0} if "wait" in operation.query_names else {})})

    def probes(self, operation: Operation, identity: Identity, own: Json, *, was_let_in: bool) -> Iterable[Probe]:
        path, body = operation.address(own), operation.body(own)
        for letter, foreign in self.foreign_ids(identity).items():
            if operation.path_names:
                yield Probe(
                    operation,
                    operation.address(foreign),
                    self.query(operation, own),
                    body,
                    f"path of {letter}",
                    in_path=True,
                    is_declared=True,
                )
            for name in operation.query_names:
                if foreign.get(name, own.get(name)) != own.get(name):
                    query = f"{self.query(operation, {})}&{urlencode({name: foreign[name]})}"
                    yield Probe(operation, path, query, body, f"?{name} of {letter}", is_declared=name != "before")
            for name in declared_ids(body):
                value = (operation.body(foreign) or {})[name]
                if foreign.get(name, ...) == own.get(name) or value == (body or {})[name]:
                    continue
                changed = {**(body or {}), name: value}
                yield Probe(
                    operation,
                    path,
                    self.query(operation, own),
                    changed,
                    f"{name} of {letter}",
                    is_declared=names_a_row(name) and (operation.id, name) not in IGNORED,
                )
            if body is not None:
                undeclared = {name: value for name, value in link_names(self.owner(letter)).items() if name not in body}
                yield Probe(
                    operation,
                    path,
                    self.query(operation, own),
                    {**undeclared, **body},
                    f"undeclared fields of {letter}",
                )
        who = {"anonymous", "server"} if WHO_MAY.get(operation.id) == PUBLIC else FILTERING
        if was_let_in and operation.is_safe and identity.name in who:
            yield from self.queries(operation, identity, own)

    def queries(self, operation: Operation, identity: Identity, own: Json) -> Iterable[Probe]:
        """Names that the schema does not know: one foreign key at a time, and each model's fields together."""
        path, declared = operation.address(own), dict.fromkeys(operation.query_names)
        for owner in identity.victims(self.world):
            named = [
                {name: value, f"{name}_id": value}
                for name, value in link_names(owner).items()
                if not name.endswith("_id") and not {name, f"{name}_id"} & set(declared)
            ]
            whole = [
                {name: value for name, value in values.items() if name not in declared}
                for values in field_values(owner).values()
            ]
            searched = {"q": f"CANARY-{owner.letter}", "search": f"CANARY-{owner.letter}", "id": str(owner.session_id)}
            for query in [*named, *whole, searched]:
                given = f"{self.query(operation, own)}&{urlencode(query)}"
                yield Probe(operation, path, given, names=f"?{'&'.join(query)} of {owner.letter}")

    def owner(self, letter: str) -> Any:
        return self.world.v if letter == "V" else self.world.b

    async def send(self, probe: Probe, identity: Identity) -> Answer:
        method = probe.operation.method.upper()
        content = b"" if probe.body is None else json.dumps(probe.body).encode()
        headers = {**identity.headers, **({"Content-Type": "application/json"} if content else {})}
        answer = await call(method, probe.path, query=probe.query, body=content, headers=headers)
        self.answers += 1
        if answer.status < 400:
            self.visited.add((method, probe.operation.path))
        self.judge.read(
            f"{identity.name}: {method} {probe.path}?{probe.query} ({probe.names or 'own'})",
            answer.text,
            identity,
            sent=f"{probe.path} {probe.query} {content.decode()}",
            issues_keys=probe.operation.id in ISSUES_KEYS,
        )
        return answer

    # --- What is expected

    def judge_own(self, what: str, operation: Operation, identity: Identity, answer: Answer) -> None:
        who = WHO_MAY.get(operation.id)
        if who is None:
            self.judge.find(what, f"say in WHO_MAY who may use {operation.id}")
        elif not self.is_welcome(operation, identity):
            self.expect_refusal(what, identity, answer)
        elif answer.status not in OWN_STATUS.get(operation.id, {200, 204}):
            self.judge.find(what, f"was refused its own: {answer.status} {answer.body[:200]!r}")

    def is_welcome(self, operation: Operation, identity: Identity) -> bool:
        who = WHO_MAY.get(operation.id, NOBODY)
        if who != PUBLIC:
            return identity.name in who
        bad = identity.name in {"another page", "no page", "dashboard that names B"}
        return operation.id in PUBLIC_EVEN_WITH_A_BAD_CREDENTIAL or not bad

    def expect_refusal(self, what: str, identity: Identity, answer: Answer) -> None:
        has_nothing = identity.name in {"anonymous", "owner", "viewer", "outsider", "dashboard that names B"}
        expected = {401} if has_nothing else {401, 403}
        if answer.status not in expected and not (
            (answer.status in {403, 409} and "register" in what) or "metrics" in what
        ):
            self.judge.find(what, f"answered {answer.status}, expected {expected}")

    def judge_foreign(self, operation: Operation, identity: Identity, probe: Probe, answer: Answer) -> None:
        what = f"{identity.name}: {operation.method.upper()} {probe.path}?{probe.query} ({probe.names})"
        if answer.status >= 500:
            self.judge.find(what, f"answered {answer.status}")
        elif answer.status == 429:
            self.judge.find(what, "was too fast to be judged")
        elif not self.is_welcome(operation, identity):
            if not (probe.in_path and answer.status == 404 and identity.headers):
                self.expect_refusal(what, identity, answer)
        elif probe.in_path and answer.status != 404:
            self.judge.find(what, f"answered {answer.status}, expected 404")
        elif probe.is_declared and answer.status < 400:
            self.judge.find(what, f"answered {answer.status} to a stranger's id")


def batched(probes: Iterable[Probe], size: int) -> Iterator[list[Probe]]:
    remaining = iter(probes)
    while batch := list(islice(remaining, size)):
        yield batch


def differing_tables(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return sorted(table for table in before if before[table] != after.get(table))


def forget_limits() -> None:
    """Speed limits are tried elsewhere; here they would hide what lies behind them."""
    redis = sync_redis()
    if keys := redis.keys("mia:limit:*"):
        redis.delete(*keys)
