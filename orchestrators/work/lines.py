"""Lines: what waits, by organization and type, each in the order of an index: the most urgent first, then the oldest.

A look reads the heads of the lines that somebody can do; however much else waits, it is not read.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final

from django.db import connection
from django.db.models import Count, OuterRef, QuerySet, Subquery

from orchestrators.models import Task
from orgs.models import Organization

MANY: Final = 20  # types that are worth a look each
# Each round of a recursion finds the next value in the index, and reads no task between.
ORGANIZATIONS: Final = """
WITH RECURSIVE lines(name) AS (
    SELECT (SELECT min(organization_id) FROM tasks WHERE status = 'assigned')
    UNION ALL
    SELECT (SELECT min(t.organization_id) FROM tasks t WHERE t.status = 'assigned' AND t.organization_id > lines.name)
    FROM lines WHERE lines.name IS NOT NULL
)
SELECT name FROM lines WHERE name IS NOT NULL
"""
TYPES: Final = """
WITH RECURSIVE lines(name) AS (
    SELECT (SELECT min(task_type) FROM tasks WHERE status = 'assigned' AND organization_id = %s)
    UNION ALL
    SELECT (SELECT min(t.task_type) FROM tasks t
            WHERE t.status = 'assigned' AND t.organization_id = %s AND t.task_type > lines.name)
    FROM lines WHERE lines.name IS NOT NULL
)
SELECT name FROM lines WHERE name IS NOT NULL
"""


@dataclass(frozen=True, slots=True)
class Line:
    """Where an organization's tasks of some types begin: the most urgent of them."""

    organization_id: str
    pk: int
    priority: int


def types(organization_id: str) -> list[str]:
    """Return the types of an organization's tasks that are to be taken, those in a pause included."""
    return _names(TYPES, organization_id, organization_id)


def _names(statement: str, *values: str) -> list[str]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return [name for (name,) in cursor.fetchall()]


def first(rows: QuerySet[Task], among: Collection[str], count: int) -> list[int]:
    """Return the keys of the first `count` of these rows, of one organization, whose types are `among` those.

    Of more than MANY types they are looked for among all that waits in the organization: some are not far.
    """
    each = [rows.filter(task_type=name) for name in sorted(among)]
    lines = each if len(each) <= MANY else [rows.filter(task_type__in=list(among))]
    found = [one for line in lines for one in line.values_list("priority", "pk")[:count]]
    return [pk for _, pk in sorted(found, key=lambda one: (-one[0], one[1]))[:count]]


def heads(rows: QuerySet[Task], among: Collection[str]) -> Iterator[Line]:
    """Yield the head of each open organization's line, in the order in which workers are to take them.

    The most urgent is first; of equals that of the organization for which workers do the fewest tasks, then the oldest.
    """
    waiting = Organization.objects.filter(Organization.open_at(), pk__in=_names(ORGANIZATIONS)).order_by()
    names = list(waiting.values_list("pk", flat=True))
    found = _heads(rows, names, among)
    held = _held() if len(found) > 1 else {}
    yield from sorted(found, key=lambda line: (-line.priority, held.get(line.organization_id, 0), line.pk))


def _heads(rows: QuerySet[Task], names: Collection[str], among: Collection[str]) -> Collection[Line]:
    """Return the heads of these organizations' lines."""
    keys: list[int] = []
    for one in among:
        line = rows.filter(organization=OuterRef("pk"), task_type=one).values("pk")[:1]
        each = Organization.objects.filter(pk__in=names).order_by().values_list(Subquery(line), flat=True)
        keys += [key for key in each if key is not None]
    found: dict[str, Line] = {}
    tasks = Task.objects.filter(pk__in=keys).order_by("-priority", "id")
    for name, key, priority in tasks.values_list("organization_id", "pk", "priority"):
        found.setdefault(name, Line(name, key, priority))
    return found.values()


def _held() -> dict[str, int]:
    """Return how many tasks workers do for each organization at this moment."""
    rows = Task.objects.filter(status=Task.Status.IN_PROGRESS, lease_until__isnull=False, orchestrator_id="")
    return dict(rows.order_by().values_list("organization_id").annotate(Count("pk")))
