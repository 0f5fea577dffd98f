"""Secret keys that were narrowed: they reach what they are for, and every address says what that is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from accounts.api import ScopedAPIView
from accounts.choices import KeyKind, KeyScope
from accounts.principals import PrincipalKind
from accounts.services import checked_scopes
from accounts.tests.factories import ApiKeyFactory
from mia.lib.errors import InvalidRequest
from mia.schema import LANE_OPERATIONS


def views(resolver: URLResolver) -> Iterator[type[ScopedAPIView]]:
    for item in resolver.url_patterns:
        if isinstance(item, URLResolver):
            yield from views(item)
        elif isinstance(item, URLPattern):
            view: Any = getattr(item.callback, "cls", None)
            if isinstance(view, type) and issubclass(view, ScopedAPIView):
                yield view


def test_every_address_that_a_secret_key_opens_belongs_to_a_scope() -> None:
    found = {*views(get_resolver()), *(operation.view for operation in LANE_OPERATIONS)}
    opened = [view for view in found if PrincipalKind.SECRET in getattr(view, "allowed_kinds", ())]
    unscoped = [view.__name__ for view in opened if view.key_scope is None and not view.allow_anonymous]
    assert len(opened) > 10
    assert unscoped == []


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("scopes", "reached"),
    [
        ([], {"/v1/models", "/api/training/sources", "/chat/config"}),
        ([KeyScope.V1], {"/v1/models"}),
        ([KeyScope.CHAT, KeyScope.KNOWLEDGE], {"/api/training/sources", "/chat/config"}),
    ],
)
def test_a_key_reaches_what_it_was_narrowed_to(scopes: list[str], reached: set[str]) -> None:
    key = ApiKeyFactory(kind=KeyKind.SECRET, scopes=scopes)
    statuses = {
        path: Client().get(path, headers={"Authorization": f"Bearer {key.plain}"}).status_code
        for path in ("/v1/models", "/api/training/sources", "/chat/config")
    }
    assert {path for path, status in statuses.items() if status != 403} == reached


def test_only_secret_keys_are_narrowed_and_only_to_what_there_is() -> None:
    for kind, scopes in ((KeyKind.CLIENT, ["v1"]), (KeyKind.SECRET, ["everything"])):
        with pytest.raises(InvalidRequest):
            checked_scopes(kind, scopes)
