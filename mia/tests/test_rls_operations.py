"""The migration operations that hold tenants apart, proven on PostgreSQL itself, as the owner of the tables."""

import pytest
from django.db import IntegrityError, ProgrammingError, connection, transaction
from django.db.migrations.state import ProjectState
from django.db.migrations.writer import MigrationWriter

from mia.lib.migrations import POLICY_NAME, DatabaseOnlyOperation, ForceRowSecurity, TenantForeignKey, UniquePair

TABLES = """
CREATE TABLE wall_parent (id bigint PRIMARY KEY, business_id bigint NOT NULL, body text);
CREATE TABLE wall_child (
    id bigint PRIMARY KEY, business_id bigint NOT NULL,
    parent_id bigint REFERENCES wall_parent (id) DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE wall_loose (id bigint PRIMARY KEY, business_id bigint, parent_id bigint);
"""
ROWS = """
INSERT INTO wall_parent VALUES (10, 1, 'of one'), (11, 1, 'of one too'), (20, 2, 'of two'), (30, 3, 'of three');
INSERT INTO wall_child VALUES (100, 1, 10), (200, 2, 20);
INSERT INTO wall_loose VALUES (1000, 1, 10), (9000, NULL, 20);
"""
OPERATIONS = [
    ForceRowSecurity("wall_parent"),
    ForceRowSecurity("wall_child"),
    ForceRowSecurity("wall_loose", nullable=True),
    UniquePair("wall_parent"),
    TenantForeignKey("wall_child", "parent_id", "wall_parent"),
]


def forwards(operation):
    with connection.schema_editor() as editor:
        operation.database_forwards("accounts", editor, ProjectState(), ProjectState())


def backwards(operation):
    with connection.schema_editor() as editor:
        operation.database_backwards("accounts", editor, ProjectState(), ProjectState())


def run(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else cursor.rowcount


def scope(*business_ids):
    literal = "{" + ",".join(map(str, business_ids)) + "}"
    run("SELECT set_config('app.business_ids', %s, true), set_config('app.platform', '', true)", literal)


def platform():
    run("SELECT set_config('app.platform', 'on', true)")


def no_scope():
    run("SELECT set_config('app.business_ids', '', true), set_config('app.platform', '', true)")


def check_deferred():
    """What a commit would check."""
    run("SET CONSTRAINTS ALL IMMEDIATE")
    run("SET CONSTRAINTS ALL DEFERRED")


def fill():
    platform()
    run(ROWS)
    check_deferred()
    no_scope()


@pytest.fixture
def walls(db):
    run(TABLES)
    for operation in OPERATIONS:
        forwards(operation)
    fill()


@pytest.fixture
def committed_walls(transactional_db):
    with transaction.atomic():
        run(TABLES)
        for operation in OPERATIONS:
            forwards(operation)
        fill()
    yield
    run("DROP TABLE wall_child, wall_loose, wall_parent")


def ids(table="wall_parent"):
    return [row[0] for row in run(f"SELECT id FROM {table} ORDER BY id")]


def policies(table):
    return [row[0] for row in run("SELECT policyname FROM pg_policies WHERE tablename = %s", table)]


def constraints(table):
    return {row[0] for row in run("SELECT conname FROM pg_constraint WHERE conrelid = %s::regclass", table)}


def row_security(table):
    [row] = run("SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = %s::regclass", table)
    return row


class TestTheRole:
    def test_tests_run_as_a_role_that_row_security_binds(self, db):
        assert run("SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user") == [(False,)]

    def test_the_role_owns_the_tables_so_security_must_be_forced(self, walls):
        assert run("SELECT tableowner = current_user FROM pg_tables WHERE tablename = 'wall_parent'") == [(True,)]
        assert row_security("wall_parent") == (True, True)


class TestReading:
    def test_no_scope_shows_no_row(self, walls):
        assert ids() == []

    def test_a_business_sees_its_own_rows_only(self, walls):
        scope(1)
        assert ids() == [10, 11]

    def test_several_businesses_see_theirs(self, walls):
        scope(1, 3)
        assert ids() == [10, 11, 30]

    def test_a_scope_of_no_business_shows_no_row(self, walls):
        scope()
        assert ids() == []

    def test_the_platform_sees_every_row(self, walls):
        platform()
        assert ids() == [10, 11, 20, 30]

    @pytest.mark.parametrize("value", ["off", "ON", "true", "1", " on"])
    def test_nothing_but_on_opens_the_platform(self, walls, value):
        run("SELECT set_config('app.platform', %s, true)", value)
        assert ids() == []

    def test_raw_sql_by_primary_key_shows_no_foreign_row(self, walls):
        scope(1)
        assert run("SELECT * FROM wall_parent WHERE id = 20") == []

    def test_a_join_shows_no_foreign_row(self, walls):
        scope(1)
        assert run("SELECT p.id FROM wall_child c JOIN wall_parent p ON p.id <> c.id ORDER BY 1") == [(10,), (11,)]

    def test_counts_and_maxima_tell_nothing_of_foreign_rows(self, walls):
        scope(1)
        assert run("SELECT count(*), max(id) FROM wall_parent") == [(2, 11)]

    def test_a_row_of_no_business_is_seen_by_the_platform_alone(self, walls):
        scope(1, 2)
        assert ids("wall_loose") == [1000]
        platform()
        assert ids("wall_loose") == [1000, 9000]


class TestWriting:
    def refused(self, sql):
        with pytest.raises(ProgrammingError, match="row-level security"), transaction.atomic():
            run(sql)

    def test_no_scope_takes_no_row(self, walls):
        self.refused("INSERT INTO wall_parent VALUES (40, 1, 'x')")

    def test_an_own_row_is_taken(self, walls):
        scope(1)
        assert run("INSERT INTO wall_parent VALUES (40, 1, 'x')") == 1

    def test_a_foreign_row_is_refused(self, walls):
        scope(1)
        self.refused("INSERT INTO wall_parent VALUES (40, 2, 'x')")

    def test_an_own_row_cannot_be_given_away(self, walls):
        scope(1)
        self.refused("UPDATE wall_parent SET business_id = 2 WHERE id = 10")

    def test_a_foreign_row_is_neither_updated_nor_deleted(self, walls):
        scope(1)
        assert run("UPDATE wall_parent SET body = 'mine' WHERE id = 20") == 0
        assert run("DELETE FROM wall_parent WHERE id = 20") == 0

    def test_an_upsert_does_not_reach_a_foreign_row(self, walls):
        scope(1)
        self.refused("INSERT INTO wall_parent VALUES (20, 1, 'x') ON CONFLICT (id) DO UPDATE SET business_id = 1")

    def test_a_business_cannot_make_a_row_of_nobody(self, walls):
        scope(1)
        self.refused("INSERT INTO wall_loose VALUES (9001, NULL, NULL)")


@pytest.mark.django_db(transaction=True)
class TestTransactions:
    def test_the_setting_is_empty_and_not_null_after_a_transaction_and_shows_no_row(self, committed_walls):
        with transaction.atomic():
            scope(1)
            assert ids() == [10, 11]
        assert run("SELECT current_setting('app.business_ids', true)") == [("",)]
        assert ids() == []

    def test_the_platform_ends_with_its_transaction(self, committed_walls):
        with transaction.atomic():
            platform()
            assert ids() == [10, 11, 20, 30]
        assert ids() == []

    def test_a_scope_outside_a_transaction_shows_no_row(self, committed_walls):
        scope(1)
        assert ids() == []

    def test_a_rolled_back_savepoint_takes_its_scope_along(self, committed_walls):
        with transaction.atomic():
            scope(1)
            with pytest.raises(ZeroDivisionError), transaction.atomic():
                scope(2)
                raise ZeroDivisionError
            assert ids() == [10, 11]

    def test_a_foreign_parent_is_refused_at_commit(self, committed_walls):
        with pytest.raises(IntegrityError), transaction.atomic():
            platform()
            run("INSERT INTO wall_child VALUES (300, 1, 20)")
        with transaction.atomic():
            platform()
            assert ids("wall_child") == [100, 200]


class TestForeignKey:
    def refused(self, sql):
        with pytest.raises(IntegrityError), transaction.atomic():
            run(sql)
            check_deferred()

    def test_a_child_of_an_own_parent_is_taken(self, walls):
        scope(1)
        run("INSERT INTO wall_child VALUES (101, 1, 11)")
        check_deferred()

    def test_a_child_cannot_point_at_a_foreign_parent(self, walls):
        scope(1)
        self.refused("INSERT INTO wall_child VALUES (101, 1, 20)")

    def test_not_even_the_platform_can_make_it_point_there(self, walls):
        platform()
        self.refused("INSERT INTO wall_child VALUES (101, 1, 20)")
        self.refused("UPDATE wall_child SET parent_id = 20 WHERE id = 100")
        self.refused("UPDATE wall_child SET business_id = 2 WHERE id = 100")

    def test_a_parent_with_children_cannot_change_hands(self, walls):
        platform()
        self.refused("UPDATE wall_parent SET business_id = 2 WHERE id = 10")

    def test_a_child_without_a_parent_is_taken(self, walls):
        scope(1)
        run("INSERT INTO wall_child VALUES (101, 1, NULL)")
        check_deferred()

    def test_children_go_with_their_parent_under_the_business_own_scope(self, db):
        self.build_with_database_cascade_only("CASCADE")
        scope(1)
        run("DELETE FROM wall_parent WHERE id = 10")
        check_deferred()
        platform()
        assert ids("wall_child") == [200]

    def test_set_null_keeps_the_child_and_its_business(self, db):
        self.build_with_database_cascade_only("SET NULL")
        scope(1)
        run("DELETE FROM wall_parent WHERE id = 10")
        check_deferred()
        assert run("SELECT business_id, parent_id FROM wall_child WHERE id = 100") == [(1, None)]

    def build_with_database_cascade_only(self, on_delete):
        """Without Django's own key, which takes no action and would refuse."""
        run(TABLES.replace("REFERENCES wall_parent (id) DEFERRABLE INITIALLY DEFERRED", ""))
        for operation in [
            *OPERATIONS[:-1],
            TenantForeignKey("wall_child", "parent_id", "wall_parent", on_delete=on_delete),
        ]:
            forwards(operation)
        fill()

    def test_rows_that_break_the_rule_already_are_found_in_spite_of_row_security(self, db):
        run(TABLES)
        for operation in OPERATIONS[:-1]:
            forwards(operation)
        platform()
        run("INSERT INTO wall_parent VALUES (20, 2, 'x')")
        run("INSERT INTO wall_child VALUES (100, 1, 20)")
        check_deferred()
        no_scope()
        with pytest.raises(IntegrityError), transaction.atomic():
            forwards(OPERATIONS[-1])

    def test_the_check_of_present_rows_leaves_no_scope_behind(self, walls):
        run("ALTER TABLE wall_child DROP CONSTRAINT wall_child_parent_id_of_same_business")
        forwards(OPERATIONS[-1])
        assert ids() == []

    def test_the_check_of_present_rows_gives_back_the_scope_that_was(self, walls):
        run("ALTER TABLE wall_child DROP CONSTRAINT wall_child_parent_id_of_same_business")
        platform()
        forwards(OPERATIONS[-1])
        assert ids() == [10, 11, 20, 30]


class TestMigrating:
    def test_every_operation_can_be_taken_back(self, walls):
        for operation in reversed(OPERATIONS):
            backwards(operation)
        assert ids() == [10, 11, 20, 30]
        assert row_security("wall_parent") == (False, False)
        assert policies("wall_parent") == []
        assert not any(
            "business" in name
            for name in constraints("wall_child") | constraints("wall_parent")
            if "not_null" not in name
        )

    def test_taken_back_and_applied_again_it_holds_again(self, walls):
        backwards(OPERATIONS[0])
        forwards(OPERATIONS[0])
        assert (policies("wall_parent"), ids()) == ([POLICY_NAME], [])

    def test_a_column_that_may_be_null_has_to_be_declared(self, db):
        run(TABLES)
        with pytest.raises(ProgrammingError, match="NOT NULL"):
            forwards(ForceRowSecurity("wall_loose"))

    def test_another_column_can_carry_the_business(self, db):
        run("CREATE TABLE wall_business (id bigint PRIMARY KEY)")
        forwards(ForceRowSecurity("wall_business", column="id"))
        scope(5)
        assert run("INSERT INTO wall_business VALUES (5)") == 1

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.describe())
    def test_no_operation_changes_the_state_of_the_models(self, operation):
        state = ProjectState()
        operation.state_forwards("accounts", state)
        assert state == ProjectState()

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.describe())
    def test_sqlmigrate_shows_every_operation_without_touching_the_database(self, operation, db):
        with connection.schema_editor(collect_sql=True) as editor:
            operation.database_forwards("accounts", editor, ProjectState(), ProjectState())
            operation.database_backwards("accounts", editor, ProjectState(), ProjectState())
        assert any(operation.table in line for line in editor.collected_sql)

    @pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.describe())
    def test_every_operation_can_be_written_into_a_migration_file(self, operation):
        text, _ = MigrationWriter.serialize(operation.table)
        name, args, kwargs = operation.deconstruct()
        again = type(operation)(*args, **kwargs)
        assert (name, vars(again)) == (type(operation).__name__, vars(operation))
        assert operation.table in text

    def test_names_of_long_tables_fit_and_stay_apart(self):
        first = TenantForeignKey("t" * 50 + "_a", "a_rather_long_column_id", "x").name
        second = TenantForeignKey("t" * 50 + "_b", "a_rather_long_column_id", "x").name
        assert len(first) == len(second) == 63
        assert first != second

    def test_an_app_that_lives_in_another_database_is_left_alone(self, db, settings):
        settings.DATABASE_ROUTERS = [f"{__name__}.Elsewhere"]
        forwards(ForceRowSecurity("no_such_table"))
        backwards(UniquePair("no_such_table"))

    @pytest.mark.parametrize("name", ["apply", "revert"])
    def test_the_base_operation_does_nothing_by_itself(self, name):
        with pytest.raises(NotImplementedError):
            getattr(DatabaseOnlyOperation(), name)(None)


class Elsewhere:
    """A router that keeps every app out of the default database."""

    def allow_migrate(self, db, app_label, **hints):
        return False
