"""Every page of the admin, found by its URL patterns, tried by staff of A with the ids of B."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any, Final
from urllib.parse import urlencode

from django.contrib import admin
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.urls import URLPattern, URLResolver, get_resolver

from chats.tests.streams import in_thread
from mia.tests.sweep.asgi import Answer, call
from mia.tests.sweep.identities import Identity, identities
from mia.tests.sweep.judge import Judge
from mia.tests.sweep.rows import differing
from mia.tests.sweep.world import Owner, World, links
from miners.models import Job

PREFIX: Final = "admin/"
ARGUMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")
UNKNOWN_NUMBER: Final = 2**40
UNKNOWN_UUID: Final = uuid.UUID(int=1)
STAFF: Final = ("owner", "viewer", "outsider")
STRANGERS: Final = ("anonymous", "server")
OPEN_TO_STRANGERS: Final = {"admin:login"}
ENDS_THE_SESSION: Final = {"admin:logout"}
CHANGES_ALLOWED: Final = frozenset({"django_session"})

Form = dict[str, Any]


@dataclass(frozen=True)
class Page:
    """One URL pattern of the admin; `model` is the table that it is about, if it is about one."""

    route: str
    name: str
    model: type[models.Model] | None

    @property
    def arguments(self) -> list[str]:
        return [first or second for first, second in ARGUMENT.findall(self.route)]

    def path(self, values: dict[str, object]) -> str:
        text = ARGUMENT.sub(lambda found: str(values[found.group(1) or found.group(2)]), self.route)
        return "/" + text.replace("^", "").replace("$", "")

    @property
    def is_about_a_row(self) -> bool:
        return bool({"object_id", "id", "job_id"} & set(self.arguments)) and self.model is not None


def pages() -> list[Page]:
    return [Page(route, name, model_of(route)) for route, name in routes() if route.startswith(PREFIX)]


def routes(
    patterns: Iterable[URLPattern | URLResolver] | None = None, prefix: str = "", space: str = ""
) -> Iterator[tuple[str, str]]:
    """Every route that Django serves, with its name."""
    for pattern in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route, f"{pattern.namespace}:" if pattern.namespace else space)
        else:
            yield route, space + (pattern.name or "")


def model_of(route: str) -> type[models.Model] | None:
    for model in admin.site._registry:
        if route.startswith(f"{PREFIX}{model._meta.app_label}/{model._meta.model_name}/"):
            return model
    return None


class FormReader(HTMLParser):
    """The fields of a page's forms with the values that they have."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.form: Form = {}
        self._select = self._textarea = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        name = given.get("name", "")
        if tag == "input" and name and given.get("type") not in {"submit", "button", "file"}:
            if given.get("type") not in {"checkbox", "radio"} or "checked" in given:
                self.form[name] = given.get("value", "on")
        elif tag == "select":
            self._select = name
        elif tag == "option" and "selected" in given:
            self.form[self._select] = given.get("value", "")
        elif tag == "textarea":
            self._textarea = name
            self.form[name] = ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.form[self._textarea] += data


class AdminSweep:
    """Goes through the pages; `visited` are the routes that were asked for, `shown` the tables that A's owner saw."""

    def __init__(self, world: World, judge: Judge) -> None:
        self.world = world
        self.judge = judge
        self.people = identities(world)
        self.visited: set[str] = set()
        self.shown: set[str] = set()
        self.answers = 0
        self.tables = judge.watch.everything()
        self.content_types: dict[type[models.Model] | None, int] = {}

    async def run(self, only: Iterable[str] = (), people: Iterable[str] = STAFF + STRANGERS) -> None:
        chosen = set(only)
        wanted = [page for page in pages() if not chosen or page.name in chosen]
        self.content_types = await in_thread(content_types)()
        for name in people:
            visit = self.visit if name in STAFF else self.visit_as_stranger
            for page in wanted:
                await visit(page, self.people[name])
        for name in ("viewer", "owner"):
            if name in people:
                for page in wanted:
                    await self.act_on_all(page, self.people[name])

    async def visit_as_stranger(self, page: Page, identity: Identity) -> None:
        for method in ("GET", "POST"):
            answer = await self.send(page, identity, method, page.path(self.values(page, self.world.b)))
            is_open = page.name in OPEN_TO_STRANGERS | ENDS_THE_SESSION and answer.status in {200, 302}
            if (
                not is_open
                and not (answer.status == 302 and "/admin/login/" in answer.headers["location"])
                and answer.status not in {403, 404, 405}
            ):
                self.judge.find(f"{identity.name}: {method} {page.route}", f"answered {answer.status}")
        self.judge.look_at_rows(f"{identity.name}: {page.route}")

    async def visit(self, page: Page, identity: Identity) -> None:
        """Looks as its own, looks at B's, tries to change B's."""
        if page.name in ENDS_THE_SESSION:
            self.visited.add(page.route)
            return
        what = f"{identity.name}: {page.route}"
        for query in self.queries(page, identity):
            await self.get_own(page, identity, query)
        for number in range(self.variants(page)):
            await self.look_at_foreign(page, identity, number)
        self.expect_unchanged(f"{what}, though it only asked")
        await self.change(page, identity)
        if identity.name == "owner":
            self.tables = self.judge.watch.everything()
        else:
            self.expect_unchanged(what)
        self.judge.look_at_rows(what, but=colleagues(identity))

    def expect_unchanged(self, what: str) -> None:
        """Nothing anywhere has changed since the last look, but for sessions."""
        before, self.tables = self.tables, self.judge.watch.everything()
        for table in differing(before, self.tables):
            if table not in CHANGES_ALLOWED:
                self.judge.find(what, f"changed {table}")

    # --- Looking

    def queries(self, page: Page, identity: Identity) -> list[dict[str, Any]]:
        """What is tried in the address of the owner's own pages."""
        b = self.world.b
        found: list[dict[str, Any]] = [{}]
        if page.name == "admin:search":
            found += [{"s": "CANARY-B"}, {"s": "CANARY-B", "extended": 1}, {"s": str(b.session_id), "extended": 1}]
        elif page.name == "admin:autocomplete":
            found += list(autocompletes())
        elif page.name.endswith("_changelist") and page.model is not None and identity.name != "outsider":
            found.append({"q": "CANARY-B"})
            if identity.name != "owner":  # Everybody of a business sees the same rows.
                return found
            found.append({"_popup": 1, "_to_field": "id", "all": "", "o": "1"})
            found += [{f"{name}__id__exact": pk} for name, pk in foreign_choices(page.model, b).items()]
            found += [{f"{item.name}__icontains": "CANARY-B"} for item in text_fields(page.model)[:1]]
        elif page.name.endswith("_add") and page.model is not None:
            found.append(dict(foreign_choices(page.model, b)))
        return found

    async def get_own(self, page: Page, identity: Identity, query: dict[str, Any]) -> None:
        path = page.path(self.values(page, self.world.a))
        answer = await self.send(page, identity, "GET", path, query=urlencode(query))
        if answer.status >= 500:
            self.judge.find(f"{identity.name}: GET {path}?{urlencode(query)}", f"answered {answer.status}")
        if page.model is not None and identity.name == "owner" and self.world.a.mark in answer.text.lower():
            self.shown.add(page.model._meta.label_lower)

    def variants(self, page: Page) -> int:
        if page.name == "admin:view_on_site":
            return len(self.world.b.rows)
        return 1 if page.is_about_a_row else 0

    async def look_at_foreign(self, page: Page, identity: Identity, number: int) -> None:
        """B's page must not differ from a page that does not exist."""
        foreign = await self.send(page, identity, "GET", page.path(self.values(page, self.world.b, number)))
        nothing = await self.send(page, identity, "GET", page.path(self.values(page, None, number)))
        self.expect_nothing(f"{identity.name}: GET {page.route} of B", foreign, nothing)

    def expect_nothing(self, what: str, foreign: Answer, nothing: Answer) -> None:
        if foreign.status != nothing.status:
            self.judge.find(what, f"answered {foreign.status}, and {nothing.status} for what does not exist")
        elif foreign.status not in {403, 404, 405} and "location" not in foreign.headers:
            self.judge.find(what, f"answered {foreign.status}, expected 404")

    # --- Changing

    async def change(self, page: Page, identity: Identity) -> None:
        if page.is_about_a_row:
            for values in self.acts(page, self.world.b):
                answer = await self.send(page, identity, "POST", page.path(values), form=self.form_for_foreign(page))
                unknown = {**values, **unknown_row(page.model)}
                nothing = await self.send(page, identity, "POST", page.path(unknown), form=self.form_for_foreign(page))
                self.expect_nothing(f"{identity.name}: POST {page.path(values)} of B", answer, nothing)
        elif page.name.endswith("_changelist") and page.model is not None:
            for name in bulk_actions(page.model):
                await self.act_in_bulk(page, identity, name, [self.world.b.rows.get(page.model)])
        if page.name.endswith(("_add", "_change")) and page.model is not None:
            await self.save_with_foreign_choices(page, identity)

    def acts(self, page: Page, owner: Owner) -> list[dict[str, object]]:
        values = self.values(page, owner)
        if "name" not in page.arguments:
            return [values]
        acts = getattr(admin.site._registry[page.model], "page_actions", ()) if page.model else ()
        return [{**values, "name": name} for name in acts]

    def form_for_foreign(self, page: Page) -> Form:
        choices = foreign_choices(page.model, self.world.b) if page.model else {}
        return {
            "post": "yes",
            "message": "hello",
            "words": "why",
            "name": "stolen",
            "revoke": "1",
            "_save": "1",
            **choices,
        }

    async def save_with_foreign_choices(self, page: Page, identity: Identity) -> None:
        """Sends the page's own form, each time with one choice exchanged for B's."""
        assert page.model is not None
        path = page.path(self.values(page, self.world.a))
        form = FormReader((await self.send(page, identity, "GET", path)).body.decode()).form
        for name, pk in foreign_choices(page.model, self.world.b).items():
            answer = await self.send(
                page, identity, "POST", path, form={**form, **required_texts(page.model, form), name: pk, "_save": "1"}
            )
            if answer.status >= 500:
                self.judge.find(f"{identity.name}: POST {path} with {name} of B", f"answered {answer.status}")

    async def act_on_all(self, page: Page, identity: Identity) -> None:
        """Bulk actions on everything in sight; what is not in sight must not be hit."""
        if page.name.endswith("_changelist") and page.model is not None:
            for name in bulk_actions(page.model):
                rows = [self.world.a.rows.get(page.model), self.world.b.rows.get(page.model)]
                await self.act_in_bulk(page, identity, name, rows, select_across=1)
            self.judge.look_at_rows(f"{identity.name}: all actions of {page.route}", but=colleagues(identity))

    async def act_in_bulk(self, page: Page, identity: Identity, name: str, rows: Iterable[Any], **more: object) -> None:
        chosen = [row.pk for row in rows if row is not None]
        form = {"action": name, "_selected_action": chosen, "post": "yes", "confirmed": "yes", **more}
        answer = await self.send(page, identity, "POST", page.path({}), form=form)
        if answer.status >= 500:
            self.judge.find(f"{identity.name}: {name} of {page.route}", f"answered {answer.status}")

    # --- Asking

    async def send(
        self, page: Page, identity: Identity, method: str, path: str, *, query: str = "", form: Form | None = None
    ) -> Answer:
        body = urlencode(form or {}, doseq=True).encode() if method == "POST" else b""
        headers = {**identity.headers, **({"Content-Type": "application/x-www-form-urlencoded"} if body else {})}
        answer = await call(method, path, query=query, body=body, headers=headers)
        self.answers += 1
        self.visited.add(page.route)
        self.judge.read(
            f"{identity.name}: {method} {path}?{query}",
            answer.text,
            identity,
            sent=f"{path} {query} {body.decode()}",
            issues_keys=page.name == "admin:accounts_apikey_add" and method == "POST",
        )
        return answer

    def values(self, page: Page, owner: Owner | None, number: int = 0) -> dict[str, object]:
        """What stands in a page's address; for no owner, the id of nothing."""
        b_rows = list(self.world.b.rows)
        model = b_rows[number] if page.name == "admin:view_on_site" else page.model
        values: dict[str, object] = {
            "app_label": "chats",
            "url": "nowhere/",
            "name": "resolve",
            "content_type_id": self.content_types.get(model, 1),
        }
        for name in page.arguments:
            values.setdefault(name, 0)
        row = None if owner is None or model is None else owner.rows.get(model)
        return (
            {**values, **unknown_row(model)}
            if row is None
            else {**values, "object_id": row.pk, "id": row.pk, "job_id": job_of(owner)}
        )


def colleagues(identity: Identity) -> str:
    """To the owner of A the other visitor of A is no stranger."""
    return "V: " if identity.name == "owner" else "-"


def content_types() -> dict[type[models.Model] | None, int]:
    ContentType.objects.clear_cache()
    return {model: ContentType.objects.get_for_model(model).pk for model in admin.site._registry}


def job_of(owner: Owner | None) -> object:
    return UNKNOWN_UUID if owner is None else owner[Job].pk


def unknown_row(model: type[models.Model] | None) -> dict[str, object]:
    is_uuid = model is not None and isinstance(model._meta.pk, models.UUIDField)
    pk: object = UNKNOWN_UUID if is_uuid else UNKNOWN_NUMBER
    return {"object_id": pk, "id": UNKNOWN_NUMBER, "job_id": UNKNOWN_UUID}


def foreign_choices(model: type[models.Model], owner: Owner) -> dict[str, Any]:
    """The foreign keys of a table, with an owner's rows for them."""
    found: dict[str, Any] = {}
    for link in links(model):
        target = link.remote_field.model
        row = owner.people[0] if target._meta.label == "accounts.User" else owner.rows.get(target)
        if row is not None:
            found[link.name] = row.pk
    return found


def text_fields(model: type[models.Model]) -> list[models.Field[Any, Any]]:
    return [item for item in model._meta.concrete_fields if isinstance(item, models.CharField | models.TextField)]


def required_texts(model: type[models.Model], form: Form) -> Form:
    """Something in every text that the form leaves empty."""
    return {item.name: "sweep@a.example" for item in text_fields(model) if form.get(item.name) == ""}


def autocompletes() -> Iterator[dict[str, Any]]:
    for model in admin.site._registry:
        for link in links(model):
            yield {
                "app_label": model._meta.app_label,
                "model_name": model._meta.model_name,
                "field_name": link.name,
                "term": "CANARY-B",
            }


def bulk_actions(model: type[models.Model]) -> list[str]:
    own = [name if isinstance(name, str) else name.__name__ for name in admin.site._registry[model].actions or ()]
    return [*own, *(name for name, _function in admin.site.actions)]
