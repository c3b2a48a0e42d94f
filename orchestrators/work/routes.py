"""Writing the table that says which agent a type of task goes to, and whether its tasks wait for a person."""

from typing import Any, Final

from django.db import IntegrityError, transaction

from moolai.errors import Conflict
from orchestrators.models import Route
from orchestrators.work import routing
from orgs import audit
from orgs.models import Organization, User

COLUMNS: Final = ("agent_id", "needs_approval")


@transaction.atomic
def create(
    organization: Organization | None,
    *,
    task_type: str,
    agent_id: str,
    acting_user: User,
    needs_approval: bool = False,
) -> Route:
    """Make a route of an organization, or of all (None); raises `conflict` when the type has one there already."""
    wish = {"task_type": task_type, "agent_id": agent_id, "needs_approval": needs_approval}
    try:
        with transaction.atomic():
            row = Route.objects.create(organization=organization, **wish)
    except IntegrityError:
        raise Conflict(detail=f"There is a route for {task_type} already.") from None
    _tell("create", row, acting_user=acting_user, after=wish)
    return row


@transaction.atomic
def change(route: Route, *, acting_user: User, **columns: Any) -> Route:
    """Change `agent_id` or `needs_approval`; tasks that were routed already stay where they are."""
    row = Route.objects.select_for_update().get(pk=route.pk)
    before = {name: getattr(row, name) for name, value in columns.items() if getattr(row, name) != value}
    if not before:
        return row
    for name in before:
        setattr(row, name, columns[name])
    row.save(update_fields=list(before))
    _tell("change", row, acting_user=acting_user, before=before, after={name: columns[name] for name in before})
    return row


@transaction.atomic
def delete(route: Route, *, acting_user: User) -> None:
    """Delete a route; one that every installation has is as it came again."""
    row = Route.objects.select_for_update().get(pk=route.pk)
    before = {"task_type": row.task_type, **{name: getattr(row, name) for name in COLUMNS}}
    if is_default(row):
        row.agent_id, row.needs_approval = routing.DEFAULTS[row.task_type], False
        row.save(update_fields=list(COLUMNS))
    _tell("delete", row, acting_user=acting_user, before=before)
    if not is_default(row):
        row.delete()


def is_default(route: Route) -> bool:
    """Whether every installation has this route."""
    return route.organization_id is None and route.task_type in routing.DEFAULTS


def _tell(verb: str, row: Route, *, acting_user: User, **values: Any) -> None:
    audit.record(
        f"task_route.{verb}",
        acting_user=acting_user,
        organization_id=row.organization_id or "",
        target=("task_route", row.task_type),
        **values,
    )
