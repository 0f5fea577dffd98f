"""The OpenAPI schema is whole, free of warnings, and the one that is committed."""

import io
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.conf import settings
from django.core.management import call_command
from django.urls import URLPattern, URLResolver, get_resolver

SNAPSHOT = Path(settings.BASE_DIR) / "docs" / "openapi.yaml"

NOT_IN_THE_SCHEMA = {
    "openapi.json": "the schema itself",
    "docs": "a page",
    "redoc": "a page",
    "widget.js": "a script",
    "install.sh": "a script",
    "miner.tar.gz": "the miner's code",
    "demo/": "a page",
    "invitation/<str:token>/": "a page",
}
"""Addresses of Django that are no part of the API, each with its reason; the admin's are left out as a whole."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    out = io.StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out)
    return yaml.safe_load(out.getvalue())


def addresses(resolver: URLResolver, prefix: str = "") -> list[str]:
    found = []
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            found += addresses(entry, path)
        elif isinstance(entry, URLPattern):
            found.append(path)
    return [path for path in found if not path.startswith("admin/")]


def as_in_the_schema(path: str) -> str:
    for converter in ("uuid:", "int:", "str:", "path:"):
        path = path.replace(f"<{converter}", "<")
    return "/" + path.replace("<", "{").replace(">", "}")


def test_the_snapshot_is_what_the_code_says(schema: dict[str, Any]) -> None:
    assert schema == yaml.safe_load(SNAPSHOT.read_text()), "Is the change meant? Then: ./dev schema"


def test_every_address_is_in_the_schema_or_has_a_reason_not_to_be(schema: dict[str, Any]) -> None:
    undocumented = {path for path in addresses(get_resolver()) if as_in_the_schema(path) not in schema["paths"]}
    assert undocumented == set(NOT_IN_THE_SCHEMA)


def test_the_hot_lane_is_in_the_schema(schema: dict[str, Any]) -> None:
    lane = {"/job/next", "/job/claim", "/heartbeat", "/job/chunks", "/chat/{session_id}/events"}
    assert lane <= set(schema["paths"])


def test_every_operation_describes_its_errors(schema: dict[str, Any]) -> None:
    for path, operations in schema["paths"].items():
        for method, operation in operations.items():
            if method in {"get", "post", "put", "patch", "delete"}:
                assert {"4XX", "5XX"} <= set(operation["responses"]), (method, path)


def test_operations_have_names_of_their_own(schema: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for operations in schema["paths"].values()
        for operation in operations.values()
        if isinstance(operation, dict) and "operationId" in operation
    ]
    assert len(names) == len(set(names))
