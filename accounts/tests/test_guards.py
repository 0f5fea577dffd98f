"""What must hold for every table of every app, read from the database, so that a new table is covered at birth."""

from __future__ import annotations

import pytest
from django.apps import apps
from django.db import connection, models

from accounts.models import AuditEntry, Business
from accounts.tenancy import DetachedTenantModel, TenantModel, TenantQuerySet

pytestmark = pytest.mark.django_db

PLATFORM_TABLES = {
    # Django's own; none holds words of a business. The log of the admin shows each person their own acts.
    "admin.LogEntry",
    "auth.Group",
    "auth.Permission",
    "contenttypes.ContentType",
    "sessions.Session",
    # A person may work for several businesses; what they see hangs on memberships, which are tenant rows.
    "accounts.User",
    # The network serves every business; these rows hold no words of any.
    "miners.EnrolmentToken",
    "miners.Miner",
    "miners.NetworkSample",
    "miners.Canary",
    "miners.CanaryTrial",
}
"""Tables without row-level security, each for a reason."""

NULLABLE_TENANTS = {"accounts.AuditEntry", "miners.Job", "miners.Attempt"}
"""Tables whose rows may belong to the platform instead of a business; such rows no business sees."""

GO_BY_THE_WORK_OF_THEIR_APP = {"knowledge"}
"""Apps whose tables may be in another database; each has a test that they go with their business."""

UNIQUE_WITHOUT_BUSINESS = {
    # Random ids of 122 bits that we choose: whether one is taken tells nobody anything.
    "chats_conversation.public_id",
    # At most one per parent, and the parent is of the same business by its composite key.
    "chats_feedback.message_id",
    "chats_rating.conversation_id",
    "miners_attempt.job_id",
    "knowledge_uploadedfile.source_id",
}


def label(model: type[models.Model]) -> str:
    return f"{model._meta.app_label}.{model.__name__}"


def all_models() -> list[type[models.Model]]:
    return [model for model in apps.get_models(include_auto_created=True) if model._meta.managed]


def is_tenant(model: type[models.Model]) -> bool:
    return model is Business or any(field.attname == "business_id" for field in model._meta.fields)


def tenant_models() -> list[type[models.Model]]:
    return [model for model in all_models() if is_tenant(model)]


def fetch(sql: str, *parameters: object) -> list[tuple[object, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def test_every_table_is_a_tenants_or_on_the_reviewed_list() -> None:
    linking = {"auth.Group_permissions", "accounts.User_groups", "accounts.User_user_permissions"}
    others = {label(model) for model in all_models() if not is_tenant(model)} - linking
    assert others - PLATFORM_TABLES == set(), "extend TenantModel, or say here why not"


def test_the_reviewed_lists_have_no_stale_entries() -> None:
    known = {label(model) for model in all_models()}
    tables = {model._meta.db_table for model in all_models()}
    assert known >= PLATFORM_TABLES | NULLABLE_TENANTS
    assert not {name for name in PLATFORM_TABLES if is_tenant(apps.get_model(name))}
    assert {entry.split(".")[0] for entry in UNIQUE_WITHOUT_BUSINESS} <= tables


@pytest.mark.parametrize("model", tenant_models(), ids=label)
def test_row_level_security_is_enabled_and_forced(model: type[models.Model]) -> None:
    table = model._meta.db_table
    assert fetch("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = to_regclass(%s)", table) == [
        (True, True)
    ]
    policies = fetch("SELECT cmd, roles::text, qual, with_check FROM pg_policies WHERE tablename = %s", table)
    assert len(policies) == 1
    command, roles, rule, check = policies[0]
    assert (command, roles) == ("ALL", "{public}")
    assert rule == check
    for setting in ("app.business_ids", "app.platform"):
        assert setting in str(rule)


@pytest.mark.parametrize("model", tenant_models(), ids=label)
def test_a_tenant_row_belongs_to_one_business_and_goes_with_it(model: type[models.Model]) -> None:
    if model is Business:
        return
    if issubclass(model, DetachedTenantModel):
        assert model._meta.app_label in GO_BY_THE_WORK_OF_THEIR_APP
        assert isinstance(model._default_manager.all(), TenantQuerySet)
        return
    field = model._meta.get_field("business")
    assert isinstance(field, models.ForeignKey)
    assert field.remote_field.model is Business
    assert field.null is (label(model) in NULLABLE_TENANTS) or not field.null
    assert field.remote_field.on_delete is models.CASCADE or model is AuditEntry
    if label(model) not in NULLABLE_TENANTS:
        assert issubclass(model, TenantModel)
        assert isinstance(model._default_manager.all(), TenantQuerySet)


@pytest.mark.parametrize("model", tenant_models(), ids=label)
def test_unique_constraints_start_with_the_business(model: type[models.Model]) -> None:
    table = model._meta.db_table
    uniques = fetch(
        "SELECT (SELECT attname FROM pg_attribute WHERE attrelid = indrelid AND attnum = indkey[0]) FROM pg_index "
        "WHERE indrelid = to_regclass(%s) AND indisunique AND NOT indisprimary",
        table,
    )
    first_columns = {f"{table}.{column}" for (column,) in uniques if column != "business_id"}
    assert first_columns <= UNIQUE_WITHOUT_BUSINESS, "a unique value tells other businesses that it is taken"


def tenant_links() -> list[tuple[str, str, str]]:
    return [
        (model._meta.db_table, field.column, field.remote_field.model._meta.db_table)
        for model in tenant_models()
        for field in model._meta.concrete_fields
        if isinstance(field, models.ForeignKey) and field.name != "business" and is_tenant(field.remote_field.model)
    ]


@pytest.mark.parametrize(("table", "column", "to_table"), tenant_links())
def test_a_row_cannot_point_into_another_business(table: str, column: str, to_table: str) -> None:
    composite = fetch(
        "SELECT array_agg(attname::text ORDER BY attname) FROM pg_constraint "
        "JOIN pg_attribute ON attrelid = conrelid AND attnum = ANY (conkey) "
        "WHERE contype = 'f' AND conrelid = to_regclass(%s) AND confrelid = to_regclass(%s) "
        "GROUP BY pg_constraint.oid HAVING count(*) = 2",
        table,
        to_table,
    )
    assert sorted(["business_id", column]) in [columns for (columns,) in composite]


def test_the_guards_look_at_something() -> None:
    assert len(tenant_models()) >= 6
    assert {label(model) for model in tenant_models()} >= {"accounts.ApiKey", "accounts.Membership"}
