"""Migration operations that hold tenants apart inside PostgreSQL itself."""

from django.db import router
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import truncate_name
from django.db.migrations.operations.base import Operation, OperationCategory
from django.db.migrations.state import ProjectState
from django.db.utils import ProgrammingError

POLICY_NAME = "tenant_rows_only"
NAME_LENGTH = 63

# After a transaction in which a setting was LOCAL, PostgreSQL reports it as '' and not as NULL; nullif covers both.
# Sub-selects would evaluate it once per statement, not per row, and cost every short statement 0.2 ms (measured);
# a scan of 200,000 rows is 40 ms slower this way, and scans are not on the hot path.
ROW_IS_IN_SCOPE = (
    "coalesce(current_setting('app.platform', true), '') = 'on' "
    "OR {column} = ANY (nullif(current_setting('app.business_ids', true), '')::bigint[])"
)


ENTER_PLATFORM = (
    "SELECT set_config('app.platform_before', coalesce(current_setting('app.platform', true), ''), true), "
    "set_config('app.platform', 'on', true)"
)
LEAVE_PLATFORM = "SELECT set_config('app.platform', current_setting('app.platform_before'), true)"


class DatabaseOnlyOperation(Operation):
    """An operation that changes the database and nothing that Django's models know of."""

    reversible = True
    reduces_to_sql = True
    category = OperationCategory.SQL

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Nothing: the models stay as they are."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if router.allow_migrate(schema_editor.connection.alias, app_label):
            self.apply(schema_editor)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        if router.allow_migrate(schema_editor.connection.alias, app_label):
            self.revert(schema_editor)

    def apply(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError

    def revert(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        raise NotImplementedError


class ForceRowSecurity(DatabaseOnlyOperation):
    """Shows and takes rows of the businesses in scope only, even for the owner of the table and for raw SQL.

    With `nullable` a row may belong to no business: such rows are the platform's and no business sees them. Without it
    the column has to be NOT NULL already, so that a row cannot drop out of everybody's sight by mistake.
    """

    def __init__(self, table: str, column: str = "business_id", nullable: bool = False) -> None:
        self.table = table
        self.column = column
        self.nullable = nullable

    def apply(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        if not self.nullable:
            self._require_not_null(schema_editor)
        table = schema_editor.quote_name(self.table)
        rule = ROW_IS_IN_SCOPE.format(column=schema_editor.quote_name(self.column))
        schema_editor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", None)
        schema_editor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY", None)
        schema_editor.execute(f"CREATE POLICY {POLICY_NAME} ON {table} USING ({rule}) WITH CHECK ({rule})", None)

    def revert(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        table = schema_editor.quote_name(self.table)
        schema_editor.execute(f"DROP POLICY {POLICY_NAME} ON {table}", None)
        schema_editor.execute(f"ALTER TABLE {table} NO FORCE ROW LEVEL SECURITY", None)
        schema_editor.execute(f"ALTER TABLE {table} DISABLE ROW LEVEL SECURITY", None)

    def describe(self) -> str:
        return f"Force row security on {self.table} by {self.column}"

    def _require_not_null(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        if schema_editor.collect_sql:
            return
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(
                "SELECT attnotnull FROM pg_attribute WHERE attrelid = to_regclass(%s) AND attname = %s",
                [schema_editor.quote_name(self.table), self.column],
            )
            row = cursor.fetchone()
        if row is None or not row[0]:
            raise ProgrammingError(f"{self.table}.{self.column} must exist and be NOT NULL, or be declared nullable.")


class UniquePair(DatabaseOnlyOperation):
    """The unique (business_id, id) that a composite foreign key to this table refers to."""

    def __init__(self, table: str, column: str = "id") -> None:
        self.table = table
        self.column = column

    @property
    def name(self) -> str:
        return truncate_name(f"{self.table}_business_and_{self.column}_unique", NAME_LENGTH)

    def apply(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        quote = schema_editor.quote_name
        schema_editor.execute(
            f"ALTER TABLE {quote(self.table)} ADD CONSTRAINT {quote(self.name)} "
            f"UNIQUE ({quote('business_id')}, {quote(self.column)})",
            None,
        )

    def revert(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        quote = schema_editor.quote_name
        schema_editor.execute(f"ALTER TABLE {quote(self.table)} DROP CONSTRAINT {quote(self.name)}", None)

    def describe(self) -> str:
        return f"Make (business_id, {self.column}) unique on {self.table}"


class TenantForeignKey(DatabaseOnlyOperation):
    """A composite foreign key: a row cannot point at another business's row, whoever writes it.

    It stands beside Django's own foreign key of one column. `on_delete` is what the database does when a parent is
    deleted by hand: CASCADE, SET NULL (of `column` alone, as the business stays), RESTRICT or NO ACTION. A row without
    a business is not checked (MATCH SIMPLE), so the child's business_id should be NOT NULL.
    """

    def __init__(
        self, table: str, column: str, to_table: str, to_column: str = "id", on_delete: str = "CASCADE"
    ) -> None:
        self.table = table
        self.column = column
        self.to_table = to_table
        self.to_column = to_column
        self.on_delete = on_delete

    @property
    def name(self) -> str:
        return truncate_name(f"{self.table}_{self.column}_of_same_business", NAME_LENGTH)

    def apply(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        """Adds the constraint, checking the rows that are there already.

        PostgreSQL checks present rows by a query that row security filters, also for the owner: with no scope it would
        see none and call the constraint valid. So the check runs as the platform.
        """
        quote = schema_editor.quote_name
        columns = f"{quote('business_id')}, {quote(self.column)}"
        target = f"{quote('business_id')}, {quote(self.to_column)}"
        schema_editor.execute(ENTER_PLATFORM, None)
        schema_editor.execute(
            f"ALTER TABLE {quote(self.table)} ADD CONSTRAINT {quote(self.name)} FOREIGN KEY ({columns}) "
            f"REFERENCES {quote(self.to_table)} ({target}) ON DELETE {self._action(schema_editor)} "
            "DEFERRABLE INITIALLY DEFERRED",
            None,
        )
        schema_editor.execute(LEAVE_PLATFORM, None)

    def revert(self, schema_editor: BaseDatabaseSchemaEditor) -> None:
        quote = schema_editor.quote_name
        schema_editor.execute(f"ALTER TABLE {quote(self.table)} DROP CONSTRAINT {quote(self.name)}", None)

    def describe(self) -> str:
        return f"Keep {self.table}.{self.column} within the business of {self.to_table}"

    def _action(self, schema_editor: BaseDatabaseSchemaEditor) -> str:
        if self.on_delete == "SET NULL":
            return f"SET NULL ({schema_editor.quote_name(self.column)})"
        return self.on_delete
