"""The walls between businesses: what a transaction sees, and when it stops seeing it."""

import threading

import pytest
from django.db import DatabaseError, InternalError, ProgrammingError, connection, transaction
from django.test.utils import CaptureQueriesContext

from accounts.models import ApiKey, Business, Membership, User
from accounts.tenancy import Scope, business_scope, no_scope, platform_scope, undoable
from accounts.tests.factories import ApiKeyFactory, BusinessFactory, MembershipFactory
from accounts.tests.scopes import scope_in_force

pytestmark = pytest.mark.django_db


@pytest.fixture
def keys() -> tuple[ApiKey, ApiKey]:
    return ApiKeyFactory(), ApiKeyFactory()


def visible() -> set[int]:
    return set(ApiKey.objects.values_list("pk", flat=True))


def test_the_test_database_role_is_under_row_level_security() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT rolsuper, rolbypassrls FROM pg_roles WHERE rolname = current_user")
        assert cursor.fetchone() == (False, False)


def test_without_a_scope_no_row_is_seen(keys: tuple[ApiKey, ApiKey]) -> None:
    assert not ApiKey.objects.exists()
    assert not Business.objects.exists()
    assert not Membership.objects.exists()


def test_without_a_scope_nothing_is_written(business: Business) -> None:
    with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
        Membership.objects.create(business=business, user=User.objects.create_user("a@example.org"))


def test_a_business_sees_its_own_rows_only(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, theirs = keys
    with business_scope(ours.business_id):
        assert visible() == {ours.pk}
        assert not ApiKey.objects.filter(pk=theirs.pk).exists()
        assert set(Business.objects.values_list("pk", flat=True)) == {ours.business_id}


def test_several_businesses_are_seen_together(keys: tuple[ApiKey, ApiKey]) -> None:
    with business_scope(*(key.business_id for key in keys)):
        assert visible() == {key.pk for key in keys}


def test_a_scope_of_no_business_sees_nothing(keys: tuple[ApiKey, ApiKey]) -> None:
    with business_scope():
        assert visible() == set()


def test_the_platform_sees_everything(keys: tuple[ApiKey, ApiKey]) -> None:
    with platform_scope():
        assert visible() == {key.pk for key in keys}


def test_raw_sql_is_confined_too(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, theirs = keys
    with business_scope(ours.business_id), connection.cursor() as cursor:
        cursor.execute("SELECT id FROM accounts_apikey")
        assert cursor.fetchall() == [(ours.pk,)]
        cursor.execute("UPDATE accounts_apikey SET name = 'stolen' WHERE id = %s", [theirs.pk])
        assert cursor.rowcount == 0
        cursor.execute("DELETE FROM accounts_apikey WHERE id = %s", [theirs.pk])
        assert cursor.rowcount == 0


def test_a_row_cannot_be_written_into_another_business(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, theirs = keys
    with business_scope(ours.business_id), pytest.raises(ProgrammingError), transaction.atomic():
        ApiKey.objects.filter(pk=ours.pk).update(business_id=theirs.business_id)


def test_relations_do_not_lead_into_another_business(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, theirs = keys
    stale = Business(pk=theirs.business_id)
    with business_scope(ours.business_id):
        assert not stale.apikey_set.exists()


def test_a_nested_scope_gives_the_outer_one_back(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, theirs = keys
    with business_scope(ours.business_id):
        with platform_scope():
            assert len(visible()) == 2
            with business_scope(theirs.business_id):
                assert visible() == {theirs.pk}
            assert len(visible()) == 2
        assert visible() == {ours.pk}
        with no_scope():
            assert visible() == set()
        assert visible() == {ours.pk}


def test_a_nested_scope_gives_the_outer_one_back_after_an_error(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, _ = keys
    with business_scope(ours.business_id):
        with pytest.raises(ZeroDivisionError), platform_scope():
            _ = 1 / 0
        assert visible() == {ours.pk}
        with pytest.raises(DatabaseError), transaction.atomic(), platform_scope(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        assert visible() == {ours.pk}


def test_a_nested_scope_that_was_marked_for_rollback_gives_the_outer_one_back(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, _ = keys
    with business_scope(ours.business_id):
        with transaction.atomic(), platform_scope():
            ApiKey.objects.update(name="undone")
            transaction.set_rollback(True)
        assert visible() == {ours.pk}
        assert not ApiKey.objects.filter(name="undone").exists()


def test_the_scope_of_postgresql_follows_every_nesting(keys: tuple[ApiKey, ApiKey]) -> None:
    ours, _ = keys
    own = (f"{{{ours.business_id}}}", "")
    assert scope_in_force() == ("", "")
    with business_scope(ours.business_id):
        with business_scope(ours.business_id):
            assert scope_in_force() == own
        with undoable(), platform_scope():
            assert scope_in_force() == ("", "on")
            transaction.set_rollback(True)
        assert scope_in_force() == own
        with pytest.raises(ZeroDivisionError), undoable(), no_scope():
            _ = 1 / 0
        assert scope_in_force() == own
        with pytest.raises(DatabaseError), undoable(), platform_scope(), connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")
        assert scope_in_force() == own
    assert scope_in_force() == ("", "")


def test_only_numbers_become_part_of_a_scope() -> None:
    with pytest.raises(ValueError), business_scope("1},{2"):  # type: ignore[arg-type]
        pass


@pytest.mark.django_db(transaction=True)
class TestWithRealTransactions:
    """What needs transactions that really end."""

    def test_the_scope_ends_with_its_transaction(self) -> None:
        key = ApiKeyFactory()
        with business_scope(key.business_id):
            assert visible() == {key.pk}
        assert visible() == set()
        assert scope_in_force() == ("", "")

    def test_queries_after_a_scope_are_empty_and_no_error(self) -> None:
        """PostgreSQL leaves the settings empty, not absent, once a transaction has set them."""
        with platform_scope():
            pass
        assert not ApiKey.objects.exists()
        assert not Business.objects.exists()

    def test_a_scope_outside_a_transaction_is_not_left_on_the_connection(self) -> None:
        key = ApiKeyFactory()
        with connection.cursor() as cursor:
            cursor.execute(Scope(business_ids=f"{{{key.business_id}}}").statement)
        assert visible() == set()

    def test_the_scope_is_told_with_the_first_statement_and_only_when_it_changed(self) -> None:
        key = ApiKeyFactory()
        with CaptureQueriesContext(connection) as sent, business_scope(key.business_id), platform_scope():
            with business_scope(key.business_id):
                assert visible() == {key.pk}
                assert visible() == {key.pk}
            with platform_scope(), business_scope(key.business_id):
                assert visible() == {key.pk}
        assert ["set_config" in query["sql"] for query in sent if "accounts_apikey" in query["sql"]] == [
            True,
            False,
            False,
        ]

    def test_a_scope_told_inside_a_savepoint_is_told_again_after_its_rollback(self) -> None:
        ours, theirs = ApiKeyFactory(), ApiKeyFactory()
        with business_scope(ours.business_id):
            with transaction.atomic():
                assert visible() == {ours.pk}
                with platform_scope():
                    assert visible() == {ours.pk, theirs.pk}
                    transaction.set_rollback(True)
            assert visible() == {ours.pk}
            with platform_scope():
                assert visible() == {ours.pk, theirs.pk}

    def test_a_statement_that_failed_leaves_the_scope_to_be_told(self) -> None:
        key = ApiKeyFactory()
        with business_scope(key.business_id):
            with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
            assert visible() == {key.pk}

    def test_many_rows_at_once_and_rows_in_portions_are_read_and_written_in_scope(self) -> None:
        ours, _theirs = ApiKeyFactory(), ApiKeyFactory()
        with business_scope(ours.business_id):
            assert [key.pk for key in ApiKey.objects.iterator(chunk_size=1)] == [ours.pk]
        with business_scope(ours.business_id), connection.cursor() as cursor:
            cursor.executemany("UPDATE accounts_apikey SET name = %s WHERE name <> %s", [["many", "many"]])
        with platform_scope():
            assert ApiKey.objects.get(name="many") == ours

    def test_a_connection_that_was_lost_is_told_anew(self) -> None:
        key = ApiKeyFactory()
        for _ in range(2):
            with business_scope(key.business_id):
                assert visible() == {key.pk}
            connection.close()

    def test_work_is_committed_at_the_end_and_undone_on_error(self) -> None:
        key = ApiKeyFactory(name="before")
        with pytest.raises(ZeroDivisionError), business_scope(key.business_id):
            ApiKey.objects.update(name="undone")
            _ = 1 / 0
        with business_scope(key.business_id):
            assert ApiKey.objects.get().name == "before"
            ApiKey.objects.update(name="after")
        with business_scope(key.business_id):
            assert ApiKey.objects.get().name == "after"

    def test_threads_do_not_share_a_scope(self) -> None:
        ours, theirs = ApiKeyFactory(), ApiKeyFactory()
        seen: dict[str, set[int]] = {}

        def look(name: str) -> None:
            seen[f"{name} without"] = visible()
            with business_scope(theirs.business_id):
                seen[name] = visible()
            connection.close()

        with business_scope(ours.business_id):
            thread = threading.Thread(target=look, args=["other"])
            thread.start()
            thread.join(timeout=10)
            assert visible() == {ours.pk}
        assert seen == {"other without": set(), "other": {theirs.pk}}

    def test_many_threads_see_their_own_business_each(self) -> None:
        keys = [ApiKeyFactory() for _ in range(4)]
        wrong: list[set[int]] = []

        def look(key: ApiKey) -> None:
            for _ in range(25):
                with business_scope(key.business_id):
                    if visible() != {key.pk}:
                        wrong.append(visible())
            connection.close()

        threads = [threading.Thread(target=look, args=[key]) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=30)
        assert wrong == []


def test_rows_for_a_business_are_chosen_by_object_and_by_id() -> None:
    ours = ApiKeyFactory()
    ApiKeyFactory()
    with platform_scope():
        assert ApiKey.objects.for_business(ours.business).get() == ours
        assert ApiKey.objects.for_business(ours.business_id).get() == ours


def test_visible_to_a_member_are_the_rows_of_their_businesses(alice: User, secret_key: ApiKey) -> None:
    ApiKeyFactory()
    second = ApiKeyFactory(business=MembershipFactory(user=alice).business)
    with platform_scope():
        assert set(ApiKey.objects.visible_to(User.objects.get(pk=alice.pk))) == {secret_key, second}


def test_visible_to_a_superuser_is_everything(root: User) -> None:
    BusinessFactory.create_batch(2)
    with platform_scope():
        assert Business.objects.visible_to(root).count() == 2


def test_visible_to_somebody_inactive_is_nothing(alice: User, secret_key: ApiKey) -> None:
    alice.is_active = False
    with platform_scope():
        assert not ApiKey.objects.visible_to(alice).exists()


def test_a_doomed_transaction_is_not_asked_to_restore_anything(business: Business) -> None:
    with pytest.raises((InternalError, DatabaseError)), business_scope(business.pk), platform_scope():
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")
        except DatabaseError:
            pass
        ApiKey.objects.exists()
