"""The proof that the sweep can fail: holes are planted, one at a time, and it must find each.

Where two walls stand, the code's and PostgreSQL's row-level security, a hole in either one alone must be held by the
other, and both together must be found. Holes are planted in this process and in the test's database only.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, models
from django.http import HttpRequest
from unfold.admin import ModelAdmin

import accounts.api
import accounts.consumers
import accounts.headers
import accounts.middleware
import accounts.permissions
import accounts.scoped_admin
import accounts.tasks
import accounts.tokens
import chats.access
import chats.admittance
import chats.attendance
import chats.services
import chats.views
import mia.lib.api
import miners.sockets
import miners.views
from accounts.models import ApiKey, JwtIssuer
from accounts.tasks import tenant_task
from accounts.tenancy import TenantQuerySet, platform_scope
from accounts.tests import test_guards
from chats.models import Bot, ChatLog, Conversation
from chats.tokens import Pass
from mia.lib.errors import InvalidRequest, NotFound
from mia.tests.sweep import test_sweep
from mia.tests.sweep.admin_site import AdminSweep
from mia.tests.sweep.api import ApiSweep
from mia.tests.sweep.asgi import run
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.sockets import SocketSweep
from mia.tests.sweep.tasks import sweep_tasks
from mia.tests.sweep.world import World
from miners.models import Job, Miner
from miners.serializers import PublicMinerSerializer

pytestmark = pytest.mark.django_db(transaction=True)

Sweep = Callable[[World, Judge], None]


@dataclass(frozen=True)
class Hole:
    """Something of ours, replaced by something careless: `owner.name = careless`."""

    owner: Any
    name: str
    careless: Any

    @contextmanager
    def planted(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.owner, self.name, self.careless)
            yield


@dataclass(frozen=True)
class Unguarded:
    """A table without its row-level security."""

    table: str

    @contextmanager
    def planted(self) -> Iterator[None]:
        self._alter("DISABLE")
        try:
            yield
        finally:
            self._alter("ENABLE")

    def _alter(self, act: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f'ALTER TABLE "{self.table}" {act} ROW LEVEL SECURITY')


@dataclass(frozen=True)
class Mutant:
    """A hole in the code, the wall that holds it if there is one, and the part of the sweep that looks there."""

    name: str
    sweep: Sweep
    holes: Sequence[Hole | Unguarded]
    walls: Sequence[Hole | Unguarded] = field(default=())


# --- Parts of the sweep


def api(*only: str, people: Sequence[str]) -> Sweep:
    def look(world: World, judge: Judge) -> None:
        sweep = ApiSweep(world, judge)
        run(lambda: sweep.run(only, people))

    return look


def admin(*only: str, people: Sequence[str] = ("owner",)) -> Sweep:
    def look(world: World, judge: Judge) -> None:
        sweep = AdminSweep(world, judge)
        run(lambda: sweep.run([f"admin:{name}" for name in only], people))

    return look


def knock(*people: str) -> Sweep:
    def look(world: World, judge: Judge) -> None:
        sweep = SocketSweep(world, judge)
        run(lambda: sweep.knock_everywhere(people))

    return look


def watch_network(world: World, judge: Judge) -> None:
    run(SocketSweep(world, judge).watch)


def tasks(world: World, judge: Judge) -> None:
    sweep_tasks(world, judge, [rename_key])


@tenant_task
def rename_key(*, business_id: int, apikey_id: str) -> None:
    """A task that trusts its scope."""
    ApiKey.objects.filter(pk=apikey_id).update(name="renamed")


# --- Careless code


def yes(*_arguments: Any, **_named: Any) -> bool:
    return True


def nothing(*_arguments: Any, **_named: Any) -> None:
    return None


def everything(*_arguments: Any, **_named: Any) -> Any:
    return platform_scope()


def any_rows(rows: Any, _business: Any) -> Any:
    return rows.all()


def any_job(_principal: Any, job_id: Any, _token: str) -> Job:
    return found(Job.objects.filter(pk=job_id))


def any_bot(_principal: Any, bot_id: int | None) -> Bot:
    return found(Bot.objects.filter(**({"pk": bot_id} if bot_id else {"is_default": True})))


def found(rows: models.QuerySet[Any]) -> Any:
    row = rows.first()
    if row is None:
        raise NotFound
    return row


def any_history(_conversation: Conversation) -> list[ChatLog]:
    return list(ChatLog.objects.order_by("pk"))


def any_admin_rows(model_admin: Any, request: HttpRequest) -> models.QuerySet[Any]:
    return ModelAdmin.get_queryset(model_admin, request)


def any_choices(model: type[models.Model], _user: Any) -> models.QuerySet[Any]:
    return model._default_manager.all()


def any_permitted(_model_admin: Any, _request: HttpRequest, rows: Any, _right: Any) -> Any:
    return rows


def pass_for_any(request: Any, session_id: Any) -> Pass | None:
    shown = chats.tokens.read_session_token(request.headers.get("x-session-token", ""))
    return None if shown is None else dataclasses.replace(shown, conversation_id=session_id)


def visitor_of_any(shown: Pass, identifier: str) -> Any:
    return attendant_of(dataclasses.replace(shown, conversation_id=UUID(identifier)), identifier)


attendant_of = chats.attendance._visitor


def conversation_of_any(principal: Any, identifier: str, _now: Any) -> Conversation:
    return Conversation.objects.for_business(principal.business_id).known_as(identifier).get()


def issuer_of_any(claims: Any) -> JwtIssuer:
    """Believes the business that a token names."""
    with platform_scope():
        issuer = JwtIssuer.objects.get(issuer=claims["iss"])
    issuer.business_id = int(claims["organization_id"])
    return issuer


def config_that_writes(*, caller: Any, bot_id: int | None) -> dict[str, Any]:
    Bot.objects.for_business(caller.principal.business_id).update(title="seen")
    return read_config(caller=caller, bot_id=bot_id)


def config_with_a_key(*, caller: Any, bot_id: int | None) -> dict[str, Any]:
    return {**read_config(caller=caller, bot_id=bot_id), "key": f"mia_sk_{'0' * 42}"}


def config_that_breaks(*, caller: Any, bot_id: int | None) -> dict[str, Any]:
    raise RuntimeError("psycopg.errors.UndefinedTable")


read_config = chats.services.read_config


class TalkativeMinerSerializer(PublicMinerSerializer):
    """The whole row, as the first system had it."""

    class Meta(PublicMinerSerializer.Meta):
        fields = (*PublicMinerSerializer.Meta.fields, "ip_address", "trust_reason")


def call_unscoped(task: Any, *, business_id: int, **arguments: object) -> object:
    with platform_scope():
        return task.function(business_id=business_id, **arguments)


def forgets_business() -> Hole:
    return Hole(TenantQuerySet, "for_business", any_rows)


def lists_all() -> Hole:
    return Hole(accounts.scoped_admin.TenantModelAdmin, "get_queryset", any_admin_rows)


def allows_all() -> Hole:
    return Hole(accounts.scoped_admin.TenantModelAdmin, "allows", yes)


CONVERSATION, LOG, BOT = Unguarded("chats_conversation"), Unguarded("chats_chatlog"), Unguarded("chats_bot")
JOB = Unguarded("miners_job")
KEY, BUSINESS, AUDIT = Unguarded("accounts_apikey"), Unguarded("accounts_business"), Unguarded("accounts_auditentry")
VISITOR, SERVER = ("visitor",), ("server",)

BEHIND_ROW_SECURITY = [
    Mutant(
        "a query forgets its business", api("chat_messages", people=SERVER), [forgets_business()], [CONVERSATION, LOG]
    ),
    Mutant(
        "a job is found by its id alone",
        api("job_result", people=SERVER),
        [Hole(chats.services, "access_job", any_job)],
        [JOB],
    ),
    Mutant(
        "a bot is found by its id alone",
        api("chat_config", people=SERVER),
        [Hole(chats.services, "access_bot", any_bot)],
        [BOT, BUSINESS],
    ),
    Mutant(
        "a list in the admin shows all rows",
        admin("chats_conversation_changelist"),
        [lists_all()],
        [CONVERSATION, BOT, BUSINESS],
    ),
    Mutant("a page in the admin opens any row", admin("chats_bot_change"), [lists_all(), allows_all()], [BOT]),
    Mutant(
        "a deletion in the admin takes any row",
        admin("accounts_jwtissuer_delete"),
        [lists_all(), allows_all()],
        [Unguarded("accounts_jwtissuer")],
    ),
    Mutant(
        "a bulk action takes any row",
        admin("accounts_apikey_changelist"),
        [lists_all(), Hole(accounts.scoped_admin.TenantModelAdmin, "permitted", any_permitted)],
        [KEY, BUSINESS, AUDIT],
    ),
    Mutant(
        "a drop-down offers all rows",
        admin("chats_bot_add"),
        [Hole(accounts.scoped_admin, "visible_rows", any_choices)],
        [KEY, BUSINESS],
    ),
    Mutant(
        "an export takes any conversation",
        admin("chats_conversation_export"),
        [lists_all(), allows_all()],
        [CONVERSATION, LOG, BOT, BUSINESS],
    ),
    Mutant(
        "an API view runs in platform scope",
        api("chat_messages", people=SERVER),
        [Hole(accounts.api, "scope_of", everything)],
        [forgets_business()],
    ),
    Mutant(
        "the admin runs in platform scope",
        admin("chats_lead_changelist"),
        [Hole(accounts.middleware, "scope_of_user", everything)],
        [lists_all()],
    ),
]

BEHIND_NOTHING_ELSE = [
    Mutant(
        "the session's token is not looked at",
        api("chat_messages", people=VISITOR),
        [Hole(chats.access, "_shows_what_it_needs", yes)],
    ),
    Mutant(
        "a dashboard's visitor opens any conversation",
        api("chat_messages", people=["dashboard's visitor"]),
        [Hole(chats.access, "_is_claimed", yes)],
    ),
    Mutant(
        "a visitor reads any job of the business",
        api("job_result", people=VISITOR),
        [Hole(chats.access, "_may_read_topic", yes)],
    ),
    Mutant(
        "the page's origin is not looked at",
        api("chat_config", people=["another page"]),
        [Hole(accounts.headers, "check_origin", nothing)],
    ),
    Mutant(
        "the kind of key is not looked at",
        api("chat_config", people=["miner", "API client"]),
        [
            Hole(accounts.permissions.HasAllowedKind, "has_permission", yes),
            Hole(chats.views.KeyThrottle, "allow_request", yes),
        ],
    ),
    Mutant(
        "the stream takes any kind of key",
        api("chat_events", people=["API client"]),
        [Hole(chats.admittance, "CHAT_KINDS", frozenset(accounts.principals.PrincipalKind))],
    ),
    Mutant(
        "a stream opens with another conversation's token",
        api("chat_events", people=VISITOR),
        [Hole(chats.admittance, "pass_of", pass_for_any)],
    ),
    Mutant(
        "the business that a token names is believed",
        api("chat_messages", people=["dashboard that names B"]),
        [Hole(accounts.tokens, "_issuer_of", issuer_of_any)],
    ),
    Mutant(
        "a socket opens with another conversation's token",
        knock("visitor"),
        [Hole(chats.attendance, "_visitor", visitor_of_any)],
    ),
    Mutant(
        "a socket's token is not tied to its conversation",
        knock("dashboard's visitor"),
        [Hole(chats.attendance, "_conversation_of", conversation_of_any)],
    ),
    Mutant(
        "anybody signed in watches the network", watch_network, [Hole(miners.sockets, "check_platform_staff", nothing)]
    ),
    Mutant(
        "the admin's socket opens from any page",
        watch_network,
        [Hole(accounts.consumers.StaffConsumer, "_check_origin", nothing)],
    ),
    Mutant("a task forgets its scope", tasks, [Hole(accounts.tasks.TenantTask, "__call__", call_unscoped)]),
    Mutant(
        "a viewer may do what an owner may",
        admin("chats_conversation_act", "chats_conversation_changelist", people=["viewer"]),
        [allows_all(), Hole(accounts.scoped_admin.TenantModelAdmin, "permitted", any_permitted)],
    ),
    Mutant(
        "a miner speaks for another",
        api("set_miner_status", people=["miner"]),
        [
            Hole(
                miners.views.MinerStatusView,
                "miner",
                property(lambda view: Miner.objects.get(pk=view.kwargs["miner_id"])),
            )
        ],
    ),
    Mutant(
        "the list of miners tells their addresses",
        api("list_miners", people=["anonymous"]),
        [Hole(miners.views, "PublicMinerSerializer", TalkativeMinerSerializer)],
    ),
    Mutant(
        "a GET writes", api("chat_config", people=SERVER), [Hole(chats.services, "read_config", config_that_writes)]
    ),
    Mutant(
        "an answer holds a key",
        api("chat_config", people=SERVER),
        [Hole(chats.services, "read_config", config_with_a_key)],
    ),
    Mutant(
        "an error tells what broke",
        api("chat_config", people=SERVER),
        [
            Hole(chats.services, "read_config", config_that_breaks),
            Hole(mia.lib.api, "application_error", lambda error: InvalidRequest(repr(error))),
        ],
    ),
]


@contextmanager
def planted(*holes: Hole | Unguarded) -> Iterator[None]:
    with ExitStack() as stack:
        for hole in holes:
            stack.enter_context(hole.planted())
        yield


def findings(mutant: Mutant, world: World, judge: Judge, holes: Sequence[Hole | Unguarded]) -> list[str]:
    judge.findings.clear()
    with planted(*holes):
        mutant.sweep(world, judge)
    # That careless code also breaks is no proof.
    return [finding for finding in judge.findings if "answered 500" not in finding]


@pytest.mark.parametrize("mutant", BEHIND_ROW_SECURITY, ids=lambda mutant: mutant.name)
def test_a_hole_in_one_wall_is_held_by_the_other_and_in_both_is_found(
    mutant: Mutant, world: World, judge: Judge
) -> None:
    assert findings(mutant, world, judge, mutant.walls) == []
    assert findings(mutant, world, judge, mutant.holes) == []
    assert findings(mutant, world, judge, [*mutant.holes, *mutant.walls]) != []


@pytest.mark.parametrize("mutant", BEHIND_NOTHING_ELSE, ids=lambda mutant: mutant.name)
def test_a_hole_is_found(mutant: Mutant, world: World, judge: Judge) -> None:
    assert findings(mutant, world, judge, mutant.holes) != []


def test_a_table_without_row_security_is_found_by_its_guard(world: World) -> None:
    for model in world.b.rows:
        test_guards.test_row_level_security_is_enabled_and_forced(model)
        with Unguarded(model._meta.db_table).planted(), pytest.raises(AssertionError):
            test_guards.test_row_level_security_is_enabled_and_forced(model)


def test_a_prompt_with_words_of_others_is_found(world: World) -> None:
    """With both walls down, another business's talk would come into the prompt, and the check of prompts says so."""
    careless = Hole(chats.services, "_history", any_history)
    with planted(careless, LOG), pytest.raises(AssertionError):
        test_sweep.test_a_prompt_holds_words_of_its_own_business_only(world)


def test_there_are_enough_mutants() -> None:
    names = [mutant.name for mutant in [*BEHIND_ROW_SECURITY, *BEHIND_NOTHING_ELSE]]
    assert len(names) == len(set(names)) >= 20
