"""The cross-tenant sweep: nobody of A is told of B or changes a row of B, whatever they ask and whose ids they use."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.contrib import admin

from accounts.models import ApiKey, Business
from accounts.tasks import tenant_task
from accounts.tenancy import platform_scope
from accounts.tests.test_guards import label
from mia.routing import http_urlpatterns
from mia.tests.sweep.admin_site import AdminSweep, pages, routes
from mia.tests.sweep.api import METHODS, WHO_MAY, ApiSweep, operations
from mia.tests.sweep.asgi import call, run
from mia.tests.sweep.identities import bearer, identities, ids_of
from mia.tests.sweep.judge import TOKEN, Judge
from mia.tests.sweep.sockets import SocketSweep, message_kinds, socket_routes
from mia.tests.sweep.tasks import sweep_tasks, tenant_tasks
from mia.tests.sweep.world import SHAPES, World, tenant_models
from mia.tests.test_api_schema import NOT_IN_THE_SCHEMA
from miners.models import Job
from miners.services import submit_job
from miners.tests.factories import make_request

pytestmark = pytest.mark.django_db(transaction=True)


def report(judge: Judge) -> str:
    return f"{len(judge.findings)} findings:\n" + "\n".join(judge.findings[:40])


# --- The sweeps


def test_no_operation_of_the_api_crosses_into_another_business(world: World, judge: Judge) -> None:
    sweep = ApiSweep(world, judge)
    run(sweep.run)
    assert not judge.findings, report(judge)
    closed = {operation.id for operation in operations() if not WHO_MAY[operation.id]}
    unseen = [item.id for item in operations() if (item.method.upper(), item.path) not in sweep.visited]
    assert set(unseen) == closed, "nobody was let into these, so they were not tried"
    assert sweep.answers > 2000


def test_no_page_of_the_admin_crosses_into_another_business(world: World, judge: Judge) -> None:
    sweep = AdminSweep(world, judge)
    run(sweep.run)
    assert not judge.findings, report(judge)
    assert {page.route for page in pages()} == sweep.visited
    readable = {f"{model._meta.label_lower}" for model in admin.site._registry if model in world.b.rows}
    assert readable <= sweep.shown, "the owner was shown none of these lists and rows, so they were not tried"


def test_no_socket_crosses_into_another_conversation(world: World, judge: Judge) -> None:
    sweep = SocketSweep(world, judge)
    run(sweep.run)
    assert not judge.findings, report(judge)
    assert sweep.routes == socket_routes()
    assert sweep.kinds == message_kinds() | {"auth"}


def test_no_task_crosses_into_another_business(world: World, judge: Judge) -> None:
    sweep_tasks(world, judge, [*tenant_tasks(), rename_key])
    assert not judge.findings, report(judge)
    with platform_scope():
        assert ApiKey.objects.get(pk=world.b[ApiKey].pk).name == world.b[ApiKey].name


@tenant_task
def rename_key(*, business_id: int, apikey_id: str) -> None:
    """Shows that the sweep calls tasks: without its scope it would change B."""
    ApiKey.objects.filter(pk=apikey_id).update(name="renamed")


def test_asking_by_head_and_options_changes_nothing(world: World, judge: Judge) -> None:
    """OPTIONS as a preflight and as itself, HEAD where there is a GET, by nobody and by a business's server."""

    people = identities(world)
    page = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    callers = [(people["anonymous"], {}), (people["server"], people["server"].headers), (people["anonymous"], page)]

    async def scenario() -> None:
        for operation in operations():
            path = operation.address(ids(world))
            before = judge.watch.everything()
            for method in ("HEAD", "OPTIONS"):
                for identity, headers in callers:
                    answer = await call(method, path, query="wait=0", headers=headers)
                    what = f"{identity.name}: {method} {path}"
                    judge.read(what, answer.text, identity, sent=path)
                    assert answer.status < 500, what
            assert judge.watch.everything() == before, path

    run(scenario)
    assert not judge.findings, report(judge)


def ids(world: World) -> dict[str, Any]:
    return {**ids_of(world.b), "miner_id": world.miner.pk}


def test_pages_for_everybody_hold_nothing_of_anybody(world: World, judge: Judge) -> None:
    async def scenario() -> None:
        for route in NOT_IN_THE_SCHEMA:
            for identity in identities(world).values():
                path = "/" + re.sub(r"<.*?>", "nonsense", route)
                answer = await call("GET", path, headers=identity.headers)
                assert answer.status in {200, 404}, path
                judge.read(f"{identity.name}: {path}", answer.text, replace(identity, may_see=""), sent=path)

    run(scenario)
    assert not judge.findings, report(judge)


# --- What miners are told


def test_a_prompt_holds_words_of_its_own_business_only(world: World) -> None:
    """Questions of both businesses reach one miner, each with nothing of the other and nothing that names who asks."""
    secrets = {"A": world.keys["secret"], "B": secret_of(world.b.business)}

    async def scenario() -> list[dict[str, Any]]:
        for letter, owner in (("A", world.a), ("B", world.b)):
            words = {"message": f"CANARY-{letter}-question", "context": f"CANARY-{letter}-context"}
            body = json.dumps({**words, "session_id": str(owner.session_id)}).encode()
            headers = {**bearer(secrets[letter]), "Content-Type": "application/json"}
            assert (await call("POST", "/chat", body=body, headers=headers)).status == 200
        answer = await call("GET", "/job/next", query="slots=8&wait=5", headers=bearer(world.miner_key))
        return answer.json()["jobs"]

    offers = run(scenario)
    assert len(offers) == 2
    letters = [judge_prompt(world, offer) for offer in offers]
    assert sorted(letters) == ["A", "B"]


def judge_prompt(world: World, offer: dict[str, Any]) -> str:
    """Whose words an offer holds; it must be one business's, the job's, and none that names it or its visitor."""
    tokens = TOKEN.findall(json.dumps(offer).lower())
    letters = {token[len("canary-")].upper() for token in tokens}
    assert len(letters) == 1, tokens
    (letter,) = letters
    with platform_scope():
        assert Job.objects.get(pk=offer["job_id"]).business_id == {"A": world.a, "B": world.b}[letter].business.pk
    names = re.compile(r"accounts\.business|conversation-|lead-|person|membership|apikey|rating|feedback")
    assert not [token for token in tokens if names.search(token)]
    assert not any(str(owner.session_id) in json.dumps(offer) for owner in (world.a, world.b, world.v))
    return letter


def secret_of(business: Business) -> str:
    from accounts.tests.factories import ApiKeyFactory

    return str(ApiKeyFactory(business=business, kind="secret").plain)


def test_every_prompt_canary_would_be_seen(world: World) -> None:
    """The check above is not blind: a job that holds words of both is recognised."""
    with platform_scope():
        text = f"{world.a.text(Job, 'messages')} {world.b.text(Job, 'messages')}"
        request = make_request(messages=[{"role": "user", "content": text}])
        submit_job(business_id=world.a.business.pk, request=request, now=world.own_job.created_at)

    async def scenario() -> Any:
        return (await call("GET", "/job/next", query="slots=8&wait=5", headers=bearer(world.miner_key))).json()["jobs"]

    (offer,) = run(scenario)
    with pytest.raises(AssertionError):
        judge_prompt(world, offer)


# --- That nothing is left out


def test_every_address_belongs_to_one_of_the_sweeps() -> None:
    api = {operation.path.lstrip("/") for operation in operations()}
    unswept = {route for route, _name in routes() if not route.startswith("admin/") and plain(route) not in api}
    assert unswept == set(NOT_IN_THE_SCHEMA), "in no sweep, or no longer there"
    lane = {plain(str(pattern.pattern)) for pattern in http_urlpatterns}
    assert lane <= api


def plain(route: str) -> str:
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route)


def test_who_may_use_what_has_no_stale_entries() -> None:
    assert {operation.id for operation in operations()} == set(WHO_MAY)
    assert {operation.method for operation in operations()} <= set(METHODS)


def test_every_text_of_every_tenant_table_is_marked(world: World) -> None:
    """Both businesses have a row of each table, with at least one canary in it unless the table holds no words."""
    without_words = {"accounts.Membership", "chats.ConversationTag", "miners.TenantShare", "knowledge.Embedding"}
    for owner in (world.a, world.b):
        for model in tenant_models():
            texts = " ".join(str(getattr(owner[model], item.attname)) for item in model._meta.concrete_fields)
            assert owner.mark in texts.lower() or label(model) in without_words, model
    assert {name.rpartition(".")[0] for name in SHAPES} <= {label(model) for model in all_models()}


def all_models() -> list[Any]:
    from django.apps import apps

    return list(apps.get_models())


def test_the_sweep_runs_with_the_locks_that_ship() -> None:
    assert settings.MINER_REGISTRATION != "open"
    assert not settings.METRICS_PUBLIC
