"""The latest sample of every organization and orchestrator. Reads rows."""

from collections.abc import Collection

from monitoring.metrics import sources
from monitoring.models import SystemMetric

# The pairs are found by stepping along the index `metrics_by_source`, and each one's newest row along it, too.
LATEST = """
WITH RECURSIVE asked(organization_id) AS (VALUES {asked}),
pairs(organization_id, orchestrator_id) AS (
    SELECT asked.organization_id,
           (SELECT min(s.orchestrator_id) FROM user_system_performance s
            WHERE s.organization_id = asked.organization_id)
    FROM asked
    UNION ALL
    SELECT pairs.organization_id,
           (SELECT min(s.orchestrator_id) FROM user_system_performance s
            WHERE s.organization_id = pairs.organization_id AND s.orchestrator_id > pairs.orchestrator_id)
    FROM pairs WHERE pairs.orchestrator_id IS NOT NULL
)
SELECT m.* FROM pairs JOIN user_system_performance m ON m.id = (
    SELECT s.id FROM user_system_performance s
    WHERE s.organization_id = pairs.organization_id AND s.orchestrator_id = pairs.orchestrator_id
    ORDER BY s.timestamp DESC LIMIT 1
)
ORDER BY m.organization_id, m.orchestrator_id
"""


def rows(organizations: Collection[str] | None) -> list[SystemMetric]:
    """Return the newest row of each pair of organization and orchestrator (None: of every organization).

    The rows of an organization's host, without an orchestrator, are such a pair, too.
    """
    asked = sources.organizations(organizations)
    if not asked:
        return []
    statement = LATEST.replace("{asked}", ", ".join(["(%s)"] * len(asked)))
    return list(SystemMetric.objects.raw(statement, asked))
