"""The board: what the queue holds now, and what came of the last day's tasks, in five columns."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final

from django.conf import settings
from django.db.models import Count, F, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from orchestrators.admin import task_pieces, task_words
from orchestrators.models import Route, Task
from orchestrators.models.task import LEVELS
from orchestrators.work import priorities
from orgs.admin.base import ago, until
from orgs.models import Organization

SHOWN: Final = 20
OFFERED: Final = 200  # organizations and types to choose from; any other can be written
DAY: Final = timedelta(days=1)
Status = Task.Status


@dataclass(frozen=True, slots=True)
class Plan:
    """A column: which tasks it holds, in which order, and what it says when there are none."""

    name: str
    title: str
    tone: str
    statuses: tuple[Status, ...]
    order: tuple[Any, ...]
    empty: str
    note: str = ""


PLANS: Final = (
    Plan("approval", "Waits for approval", "amber", (Status.PENDING_APPROVAL,), ("-priority", "id"),
         "Nothing waits for a person."),
    Plan("assigned", "To be taken", "gray", (Status.ASSIGNED,), ("-priority", "id"), "Nothing waits to be taken."),
    Plan("processing", "In progress", "blue", (Status.IN_PROGRESS,), ("-priority", "id"), "Nobody works on a task."),
    Plan("done", "Completed", "green", (Status.COMPLETED,), (F("completed_at").desc(), "-id"),
         "None was completed in the last 24 hours.", "24 h"),
    Plan("failed", "Failed", "red", (Status.FAILED, Status.DEAD), (F("completed_at").desc(), "-id"),
         "None failed in the last 24 hours.", "24 h"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Card:
    """A task on the board."""

    task: Task
    url: str
    level: SafeString
    when: SafeString
    note: str
    is_dead: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """A column as it is now."""

    plan: Plan
    count: int
    url: str
    cards: list[Card] = field(default_factory=list)

    @property
    def more(self) -> int:
        """Return how many are not shown."""
        return max(0, self.count - len(self.cards))


@dataclass(frozen=True, slots=True)
class Wish:
    """What the board is narrowed to; empty: to nothing."""

    organization: str = ""
    task_type: str = ""
    level: str = ""

    @classmethod
    def of(cls, request: HttpRequest) -> "Wish":
        """Read it from the address; a level that is none is left out."""
        organization, kind, level = (request.GET.get(name, "") for name in ("organization", "type", "level"))
        return cls(organization.strip()[:50], kind.strip()[:100], level if level in LEVELS else "")

    @property
    def query(self) -> str:
        """Return it as an address has it."""
        names = {"organization": self.organization, "type": self.task_type, "level": self.level}
        return urlencode({name: text for name, text in names.items() if text})

    def apply(self, rows: QuerySet[Task]) -> QuerySet[Task]:
        """Narrow."""
        if self.organization:
            rows = rows.filter(organization_id=self.organization)
        if self.task_type:
            rows = rows.filter(task_type=self.task_type)
        return at(rows, self.level) if self.level else rows


def at(rows: QuerySet[Task], level: str) -> QuerySet[Task]:
    """Narrow to a level: to its numbers, in whichever words they were given."""
    return rows.filter(priority__range=LEVELS[level])


def levels() -> list[tuple[str, str]]:
    """Return the levels to choose from, each with its numbers: “P1 · 8–9”."""
    return [(word, f"{word} · {priorities.span(word)}") for word in LEVELS]


def shown(wish: Wish) -> dict[str, Any]:
    """Return the columns as they are now: seven queries, however many tasks there are."""
    now = timezone.now()
    found = wish.apply(Task.objects.all())
    ended = found.filter(completed_at__gte=now - DAY)
    numbers = _numbers(found.filter(completed_at__isnull=True)) | _numbers(ended)
    columns = [_column(plan, found if plan.note == "" else ended, numbers, wish, now=now) for plan in PLANS]
    return {
        "columns": columns,
        "cancelled": numbers.get(Status.CANCELLED, 0),
        "cancelled_url": _list(wish, (Status.CANCELLED,)),
        "waiting_badge": task_pieces.badge_words(),
        "is_narrowed": bool(wish.query),
        "is_empty": not numbers and not wish.query and not Task.objects.exists(),
    }


def offered() -> dict[str, Any]:
    """Return what the board may be narrowed to."""
    types = Route.objects.exclude(task_type="*").order_by("task_type").values_list("task_type", flat=True).distinct()
    return {
        "organizations": list(Organization.objects.order_by("pk").values_list("pk", "name")[:OFFERED]),
        "types": list(types[:OFFERED]),
        "levels": levels(),
    }


def _numbers(rows: QuerySet[Task]) -> dict[str, int]:
    return dict(rows.order_by().values_list("status").annotate(Count("pk")))


def _column(plan: Plan, rows: QuerySet[Task], numbers: dict[str, int], wish: Wish, *, now: datetime) -> Column:
    count = sum(numbers.get(status, 0) for status in plan.statuses)
    narrowed = rows.filter(status__in=plan.statuses) if len(plan.statuses) > 1 else rows.filter(status=plan.statuses[0])
    light = narrowed.defer("payload", "metadata", "result").order_by(*plan.order)[:SHOWN] if count else ()
    return Column(plan, count, _list(wish, plan.statuses), [_card(row, plan, now=now) for row in light])


def _card(row: Task, plan: Plan, *, now: datetime) -> Card:
    moment = {"processing": row.started_at, "done": row.completed_at, "failed": row.completed_at}.get(plan.name)
    when, note = ago(moment or row.created_at), _note(row, plan, now=now)
    return Card(row, task_pieces.page(row.pk), task_words.level(row), when, note, row.status == Status.DEAD)


def _note(row: Task, plan: Plan, *, now: datetime) -> str:
    """Say what is worth knowing in this column."""
    if plan.name == "processing":
        return f"attempt {row.attempts} · {row.holder}" if row.attempts > 1 else row.holder
    if plan.name == "done" and row.completed_at and row.started_at:
        return f"took {task_words.span((row.completed_at - row.started_at).total_seconds())}"
    if plan.name == "failed":
        return row.error
    if plan.name == "assigned" and row.attempts:
        again = f"tried again {until(row.run_after, now=now)}; " if row.run_after > now else ""
        return f"{again}attempt {row.attempts} of {settings.TASK_MAX_ATTEMPTS}: {row.error or 'given back'}"
    late = row.sla_target is not None and row.sla_target <= now
    return "late" if late else ""


def _list(wish: Wish, statuses: tuple[Status, ...]) -> str:
    asked: dict[str, Any] = {"status__exact": [status.value for status in statuses]}
    for name, text in (
        ("organization__organization_id__exact", wish.organization),
        ("task_type", wish.task_type),
        ("level", wish.level),
    ):
        asked |= {name: text} if text else {}
    return task_words.tasks_url(**asked)
