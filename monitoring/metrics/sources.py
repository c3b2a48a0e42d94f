"""Who there are samples of: found by stepping along an index, however many samples there are. Reads rows."""

from collections.abc import Collection

from django.db import connections, router

from monitoring.models import SystemMetric

# Each step asks the index for the next larger value: as many look-ups as there are organizations.
ORGANIZATIONS = """
WITH RECURSIVE found(organization_id) AS (
    SELECT min(organization_id) FROM user_system_performance
    UNION ALL
    SELECT (SELECT min(s.organization_id) FROM user_system_performance s
            WHERE s.organization_id > found.organization_id)
    FROM found WHERE found.organization_id IS NOT NULL
)
SELECT organization_id FROM found WHERE organization_id IS NOT NULL
"""


def organizations(scope: Collection[str] | None = None) -> list[str]:
    """Return the organizations of `scope`; of all that there are samples of, when it is None."""
    if scope is not None:
        return sorted(scope)
    with connections[router.db_for_read(SystemMetric)].cursor() as cursor:
        cursor.execute(ORGANIZATIONS)
        return [row[0] for row in cursor.fetchall()]
