"""Agents of an organization: who does its tasks."""

import secrets
from typing import Any, Final

from django.db import IntegrityError, transaction
from django.db.models import Count

from moolai.errors import Conflict
from orchestrators.models import Agent
from orgs import audit, names
from orgs.models import Organization, User

SHOWN: Final = ("name", "model", "capabilities", "status")


@transaction.atomic
def create(
    organization: Organization, *, name: str, acting_user: User | None, agent_id: str = "", **columns: Any
) -> Agent:
    """Make an agent (model, system_prompt, parameters, capabilities); raises `conflict` when its id is taken."""
    agent_id = agent_id or f"agt_{secrets.token_hex(8)}"
    try:
        with transaction.atomic():
            row = Agent.objects.create(
                organization=organization, agent_id=agent_id, name=names.require(name), **columns
            )
    except IntegrityError:
        raise Conflict(detail=f"There is an agent {agent_id} already.") from None
    audit.record(
        "agent.create",
        acting_user=acting_user,
        organization_id=organization.pk,
        target=("agent", agent_id),
        after={"name": row.name, "model": row.model, "capabilities": row.capabilities},
    )
    return row


@transaction.atomic
def change(agent: Agent, *, acting_user: User | None, **columns: Any) -> Agent:
    """Change an agent (name, model, system_prompt, parameters, capabilities, status); it keeps its id.

    The audit trail names what was changed; of the system prompt and the parameters it does not keep the contents.
    """
    row = Agent.objects.select_for_update(no_key=True).get(pk=agent.pk)
    if "name" in columns:
        columns["name"] = names.require(columns["name"])
    before = {name: getattr(row, name) for name, value in columns.items() if getattr(row, name) != value}
    if not before:
        return row
    for name in before:
        setattr(row, name, columns[name])
    row.save(update_fields=[*before, "updated_at"])
    shown = [name for name in before if name in SHOWN]
    audit.record(
        "agent.change",
        acting_user=acting_user,
        organization_id=row.organization_id,
        target=("agent", row.agent_id),
        before={name: before[name] for name in shown},
        after={**{name: columns[name] for name in shown}, "changed": sorted(before)},
    )
    return row


def workload(agent: Agent) -> dict[str, int]:
    """Return how many tasks the agent has of each status."""
    rows = agent.organization.tasks.filter(assigned_agent=agent.agent_id).order_by()
    return dict(rows.values_list("status").annotate(Count("pk")))
