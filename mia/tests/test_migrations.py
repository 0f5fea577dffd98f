"""Migrations: none missing, named in words, and able to go back with rows in the tables."""

import re
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from accounts.tests.factories import BusinessFactory
from miners.tests.factories import make_job, make_miner

OURS = ("accounts", "miners", "knowledge", "chats")


@pytest.mark.django_db
def test_no_migration_is_missing() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


@pytest.mark.parametrize("app", OURS)
def test_migrations_are_named_in_words(app: str) -> None:
    directory = Path(apps.get_app_config(app).path) / "migrations"
    names = [path.stem for path in directory.glob("0*.py")]
    assert names
    for name in names:
        assert re.fullmatch(r"\d{4}_[a-z]+(_[a-z0-9]+)+", name), name
        assert "_auto_" not in name


@pytest.mark.django_db(transaction=True)
def test_migrations_go_back_and_forth_on_a_database_with_rows() -> None:
    business = BusinessFactory()
    make_miner()
    make_job(business_id=business.pk)
    executor = MigrationExecutor(connection)
    everything = executor.loader.graph.leaf_nodes()
    try:
        executor.migrate([("chats", None), ("knowledge", None), ("miners", None)])
        assert "miners_job" not in connection.introspection.table_names()
    finally:
        executor = MigrationExecutor(connection)
        executor.migrate(everything)
    assert {"miners_job", "chats_conversation"} <= set(connection.introspection.table_names())
    with connection.cursor() as cursor:
        cursor.execute("SELECT relforcerowsecurity FROM pg_class WHERE relname = 'miners_job'")
        assert cursor.fetchone() == (True,)
