"""Where the tables are: in the common database, or in one of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, models

from knowledge import databases
from knowledge.databases import KnowledgeRouter
from knowledge.models import Source


@pytest.fixture
def two_databases(db: None) -> Iterator[dict[str, str]]:
    """Two empty databases beside the test's own."""
    given = connection.get_connection_params()
    names = {"DATABASE_URL": "mia_apart_one", "KNOWLEDGE_DATABASE_URL": "mia_apart_two"}
    place = {name: given[name] for name in ("user", "host", "port", "password") if given.get(name)}
    with psycopg.connect(dbname="postgres", autocommit=True, **place) as server:
        for name in names.values():
            server.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
            server.execute(f"CREATE DATABASE {name}")
        yield {setting: f"postgresql://{given['user']}@/{name}?host={given['host']}" for setting, name in names.items()}
        for name in names.values():
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_everything_works_with_two_databases(two_databases: dict[str, str]) -> None:
    environment = os.environ | two_databases | {"DJANGO_SETTINGS_MODULE": "mia.settings"}
    command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-m", "knowledge.tests.apart"]
    ran = subprocess.run(command, cwd=settings.BASE_DIR, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert ran.stdout.startswith("apart")


def test_by_default_there_is_one() -> None:
    assert databases.alias() == "default"
    assert KnowledgeRouter().db_for_read(Source) == "default"
    assert KnowledgeRouter().allow_migrate("default", "knowledge") is True
    assert KnowledgeRouter().allow_migrate("default", "chats") is None


def test_no_foreign_key_leads_out_of_the_app_or_into_it() -> None:
    links = [
        (model, field.remote_field.model)
        for model in apps.get_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey)
    ]
    sides = [{one._meta.app_label, other._meta.app_label} for one, other in links]
    assert [pair for pair in sides if "knowledge" in pair and pair != {"knowledge"}] == []
    assert {"knowledge"} in sides
