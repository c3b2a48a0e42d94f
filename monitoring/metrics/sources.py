"""Who there are samples and roll-ups of: found by stepping along an index, however many there are. Reads rows."""

from collections.abc import Collection
from typing import Final

from django.db import connections, router
from django.db.models import Model

from monitoring.models import MetricRollup, SystemMetric

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
OF_ROLLUPS: Final = ORGANIZATIONS.replace("user_system_performance", "metric_rollups")


def organizations(scope: Collection[str] | None = None) -> list[str]:
    """Return the organizations of `scope`; of all that there are samples of, when it is None."""
    if scope is not None:
        return sorted(scope)
    return _found(SystemMetric, ORGANIZATIONS)


def of_rollups(scope: Collection[str] | None = None) -> list[str]:
    """Return the organizations of `scope`; of all that there are roll-ups of, which outlive samples, if None."""
    return sorted(scope) if scope is not None else _found(MetricRollup, OF_ROLLUPS)


def _found(model: type[Model], statement: str) -> list[str]:
    with connections[router.db_for_read(model)].cursor() as cursor:
        cursor.execute(statement)
        return [row[0] for row in cursor.fetchall()]
