"""An HNSW index for each business that is large enough to need one, and for nobody else.

One index over all businesses with a filter behind it finds next to nothing of a small one (measured: recall 1.8 %),
because the neighbours it walks along are other businesses' rows. A partial index holds one business and one version.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper

from accounts.tenancy import business_scope
from knowledge import databases
from knowledge.models import Embedding, EmbeddingVersion

MOST_INDEXED_DIMENSIONS: Final = 4000
LINKS: Final = 16
EFFORT: Final = 64
BUILD_MEMORY: Final = "512MB"
IS_VALID: Final = "SELECT i.indisvalid FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid WHERE c.relname = %s"


def index_name(version: EmbeddingVersion) -> str:
    return f"embedding_hnsw_of_{version.business_id}_{version.pk}"


def needs_index(version: EmbeddingVersion) -> bool:
    with business_scope(version.business_id):
        count = Embedding.objects.filter(embedding_version=version).count()
    return count > settings.KNOWLEDGE_EXACT_SCAN_CHUNKS and version.dimensions <= MOST_INDEXED_DIMENSIONS


def build_index(version: EmbeddingVersion) -> bool:
    """Builds it while others read and write, or completes one whose build was killed; minutes for 100,000 chunks.

    Not for a transaction. True when the index is there.
    """
    connection = databases.connection()
    name = index_name(version)
    if _is_valid(connection, name) is False:
        drop_index(version)
    if _is_valid(connection, name) is None:
        size, business, number = int(version.dimensions), int(version.business_id), int(version.pk)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('maintenance_work_mem', %s, false)", [BUILD_MEMORY])
            cursor.execute(
                f"CREATE INDEX CONCURRENTLY {connection.ops.quote_name(name)} ON knowledge_embedding "
                f"USING hnsw ((vector::halfvec({size})) halfvec_ip_ops) WITH (m = {LINKS}, ef_construction = {EFFORT}) "
                f"WHERE business_id = {business} AND embedding_version_id = {number}"
            )
            cursor.execute("RESET maintenance_work_mem")
    with business_scope(version.business_id):
        EmbeddingVersion.objects.filter(pk=version.pk).update(has_index=True)
    version.has_index = True
    return True


def drop_index(version: EmbeddingVersion) -> None:
    connection = databases.connection()
    with connection.cursor() as cursor:
        cursor.execute(f"DROP INDEX IF EXISTS {connection.ops.quote_name(index_name(version))}")


def _is_valid(connection: BaseDatabaseWrapper, name: str) -> bool | None:
    """None: there is no such index; False: its build did not come to an end."""
    with connection.cursor() as cursor:
        cursor.execute(IS_VALID, [name])
        row = cursor.fetchone()
    return None if row is None else bool(row[0])
