"""Events that agents publish: stored in the change feed, which dashboards follow, and matched to the rules."""

from typing import Any

from django.db import transaction
from django.utils import timezone

from moolai.errors import NotFound
from orchestrators.models import Task, TaskStep
from orchestrators.work import reactions
from orgs import events
from orgs.models import Organization, User


@transaction.atomic
def publish(
    organization: Organization,
    *,
    event_type: str,
    source_agent: str,
    acting_user: User | None = None,
    creator: str = "",
    **more: Any,
) -> None:
    """Store an event (`payload`, `task_id`, `trace_id`, `priority`) with what the rules make of it, or nothing.

    With a `task_id` it stands in that task's timeline, too; raises NotFound for a task that is not there. `creator` is
    the caller's id, which may be no approver of the tasks that are made.
    """
    now, task = timezone.now(), _task(organization, more.get("task_id"))
    if task is not None:
        TaskStep.objects.create(task=task, kind=TaskStep.Kind.EVENT, actor=source_agent, note=event_type, at=now)
    data = {"event_type": event_type, "source_agent": source_agent, **more}
    told = reactions.react(organization, data, about=task, acting_user=acting_user, creator=creator, now=now)
    events.record("event.published", organization_id=organization.pk, data={**data, **told})


def _task(organization: Organization, task_id: str | None) -> Task | None:
    if not task_id:
        return None
    task: Task | None = organization.tasks.filter(task_id=task_id).first()
    if task is None:
        raise NotFound
    return task
