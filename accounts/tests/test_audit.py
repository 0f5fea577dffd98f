"""The audit trail: what is written, and that nothing alters it."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction

from accounts.audit import changes_of, readable, record_audit
from accounts.choices import AuditAction, Role
from accounts.models import AuditEntry, Business, User
from accounts.principals import Principal, PrincipalKind, principal_of_user
from accounts.services import erase_business
from accounts.tenancy import business_scope, platform_scope
from mia.lib.logging import bind_request

pytestmark = pytest.mark.django_db


@pytest.fixture
def entry(business: Business, alice: User) -> AuditEntry:
    with business_scope(business.pk):
        return record_audit(actor=alice, business=business, action=AuditAction.CHANGED, target=business)


def test_an_entry_says_who_did_what_to_which(business: Business, alice: User) -> None:
    with business_scope(business.pk), bind_request("request-1"):
        entry = record_audit(
            actor=alice,
            business=business,
            action=AuditAction.CHANGED,
            target=business,
            changes={"name": ["old", "new"]},
        )
    assert (entry.actor_label, entry.actor_user_id, entry.actor_key_id) == (alice.email, alice.pk, None)
    assert (entry.target_type, entry.target_id, entry.target_label) == (
        "accounts.business", str(business.pk), business.name,
    )  # fmt: skip
    assert entry.changes == {"name": ["old", "new"]}
    assert entry.request_id == "request-1"
    assert str(entry) == f"{alice.email} changed accounts.business {business.name}"


def test_keys_staff_and_the_platform_are_told_apart(business: Business, alice: User) -> None:
    key = Principal(kind=PrincipalKind.SECRET, business_id=business.pk, key_id=5, label="shop server (mia_sk_x…)")
    with business_scope(business.pk):
        entries = [
            record_audit(actor=actor, business=business.pk, action=AuditAction.PERFORMED, target=business)
            for actor in (key, principal_of_user(alice), None)
        ]
    assert [(entry.actor_label, entry.actor_user_id, entry.actor_key_id) for entry in entries] == [
        ("shop server (mia_sk_x…)", None, 5),
        (str(alice), alice.pk, None),
        ("MIA", None, None),
    ]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET actor_label = 'nobody'",
        "DELETE FROM accounts_auditentry",
        "UPDATE accounts_auditentry SET id = id",
    ],
)
def test_the_database_refuses_to_alter_an_entry(statement: str, entry: AuditEntry) -> None:
    for scope in (platform_scope(), business_scope(entry.business_id or 0)):
        with scope:
            with (
                pytest.raises(IntegrityError, match="append-only"),
                transaction.atomic(),
                connection.cursor() as cursor,
            ):
                cursor.execute(statement)
            assert AuditEntry.objects.filter(pk=entry.pk, actor_label=entry.actor_label).exists()


def test_saving_and_deleting_an_entry_is_refused(entry: AuditEntry) -> None:
    with platform_scope():
        entry.actor_label = "nobody"
        with pytest.raises(IntegrityError), transaction.atomic():
            entry.save()
        with pytest.raises(IntegrityError), transaction.atomic():
            entry.delete()
        with pytest.raises(IntegrityError), transaction.atomic():
            AuditEntry.objects.all().delete()


def test_entries_go_with_their_business(entry: AuditEntry, business: Business) -> None:
    erase_business(actor=None, business=business)
    with platform_scope():
        assert not AuditEntry.objects.filter(pk=entry.pk).exists()
        last = AuditEntry.objects.get()
    assert (last.business_id, last.action, last.target_label) == (None, AuditAction.ERASED, "Alice's Bicycles")


def test_entries_outlive_the_user(entry: AuditEntry, alice: User) -> None:
    with platform_scope():
        alice.delete()
        assert AuditEntry.objects.get(pk=entry.pk).actor_label == "alice@bicycles.example"


def test_a_business_reads_its_own_entries_only(entry: AuditEntry, other_business: Business) -> None:
    with business_scope(other_business.pk):
        assert not AuditEntry.objects.exists()


def test_entries_of_the_platform_are_read_by_the_platform_only(business: Business, root: User) -> None:
    with platform_scope():
        record_audit(actor=root, business=None, action=AuditAction.CHANGED, target=root)
    with business_scope(business.pk):
        assert not AuditEntry.objects.exists()
        with pytest.raises(ProgrammingError), transaction.atomic():
            record_audit(actor=root, business=None, action=AuditAction.CHANGED, target=root)


def test_changes_name_old_and_new_and_hide_secrets(business: Business) -> None:
    user = User(email="new@example.org", password="hash of the new")
    before = {"email": "old@example.org", "password": "hash of the old", "name": ""}
    assert changes_of(user, before, ["email", "password", "name"]) == {
        "email": ["old@example.org", "new@example.org"],
        "password": ["…", "…"],
    }


def test_anything_becomes_readable_json(business: Business) -> None:
    moment = datetime(2026, 11, 21, 2, 3, 4, tzinfo=UTC)
    number = uuid.UUID(int=5)
    assert readable({"a": moment, 1: (number, {True}), "b": business, "r": Role.OWNER, "n": None}) == {
        "a": "2026-11-21T02:03:04Z",
        "1": ["00000000-0000-0000-0000-000000000005", [True]],
        "b": "Alice's Bicycles",
        "r": "owner",
        "n": None,
    }
    assert readable("a\x00b") == "ab"
    assert len(str(readable("x" * 10_000))) == 500
    assert str(readable(object())).startswith("<object")
