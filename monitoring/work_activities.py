"""What people do as rows of other rooms: tasks, workflow runs, prompts, published events, decisions on approvals.

Each is counted once, under one of the published words: a task or a run as `workflow` (a run's own task is not counted
again), a prompt or an event as `api_call` (a task's prompt is that task's), a decision as `feature`. One query for each
kind of row, grouped by user and day.
"""

from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any, Final

from django.db.models import Case, CharField, Count, F, QuerySet, When
from django.db.models.fields.json import KT
from django.db.models.functions import Cast, TruncDay

from llm_gateway.models import Prompt, WorkflowRun
from monitoring.activities import Deeds
from monitoring.models import Activity
from orchestrators.models import Approval
from orchestrators.work import figures
from orgs.models import Event

OF_RUNS: Final = ("workflow",)  # the type of the tasks that workflow runs are done by
DECIDED: Final = (Approval.Status.APPROVED, Approval.Status.REJECTED)  # by a person
Kind = Activity.Kind
Span = tuple[datetime, datetime]


def count(organizations: Collection[str] | None, since: datetime, until: datetime) -> Iterator[Deeds]:
    """Yield what was done from `since` until before `until`: five queries."""
    span = (since, until)
    made = figures.created_by_day(since=since, until=until, organizations=organizations, without=OF_RUNS)
    for home, user, day, number in made:
        yield Deeds(Kind.WORKFLOW, home, user, day.date(), number)
    whose = Case(When(user_id="", then=F("created_by")), default=F("user_id"))
    runs = WorkflowRun.objects.annotate(who=whose)
    yield from _counted(Kind.WORKFLOW, runs, organizations, span)
    yield from _counted(
        Kind.API_CALL, Prompt.objects.filter(task_id="").annotate(who=F("created_by")), organizations, span
    )
    events = Event.objects.filter(kind="event.published").annotate(who=Cast(KT("data__source_agent"), CharField()))
    yield from _counted(Kind.API_CALL, events, organizations, span)
    decided = Approval.objects.filter(status__in=DECIDED).annotate(who=F("decided_by"))
    yield from _counted(Kind.FEATURE, decided, organizations, span, home="task__organization_id", at="decided_at")


def _counted(
    kind: Kind,
    rows: QuerySet[Any],
    organizations: Collection[str] | None,
    span: Span,
    *,
    home: str = "organization_id",
    at: str = "created_at",
) -> Iterator[Deeds]:
    """Yield how many of the rows each user (`who`) made on each day (UTC)."""
    rows = rows.filter(**{f"{at}__gte": span[0], f"{at}__lt": span[1]}).order_by()
    if organizations is not None:
        rows = rows.filter(**{f"{home}__in": list(organizations)})
    found = rows.annotate(day=TruncDay(at)).values_list(home, "who", "day").annotate(number=Count("pk"))
    for organization_id, user, day, number in found:
        yield Deeds(kind, organization_id, user or "", day.date(), number)
