"""What PostgreSQL itself holds as the scope of this thread's connection."""

from django.db import connection


def scope_in_force() -> tuple[str, str]:
    """The businesses and whether it is the platform, as the policies read them; two empty texts for no scope."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('app.business_ids', true), current_setting('app.platform', true)")
        business_ids, platform = cursor.fetchone()
    return business_ids or "", platform or ""
