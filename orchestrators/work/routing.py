"""Routing: which agent a task goes to. The table is data; what a new installation has is API §7's."""

from typing import Final

from orchestrators.models import Agent, Route
from orchestrators.work import handlers
from orgs.models import Organization

ANY: Final = "*"
DEFAULTS: Final = {
    **dict.fromkeys(("bugfix", "feature", "refactor"), "dev_agent"),
    **dict.fromkeys(("deployment", "monitoring", "incident"), "ops_agent"),
    **dict.fromkeys(("faq_update", "documentation", "knowledge_sync"), "faq_agent"),
    ANY: "dev_agent",
}


def seed() -> None:
    """Make the default routes that are missing; one that a person changed stays as it is."""
    known = set(Route.objects.filter(organization__isnull=True).values_list("task_type", flat=True))
    missing = [Route(task_type=kind, agent_id=agent) for kind, agent in DEFAULTS.items() if kind not in known]
    Route.objects.bulk_create(missing, ignore_conflicts=True)


def find(organization: Organization, task_type: str) -> tuple[str, bool]:
    """Return the agent_id for a type ("" where nothing says one), and whether its tasks always wait for a person.

    The organization's own route comes first, then that of all; then an agent of its own that names the type among its
    capabilities; then `*`, again its own first. What only workers do (`handlers.workers_only`) is nobody's by `*`.
    """
    rows = {
        (route.task_type, route.organization_id is not None): route
        for owner in (None, organization)
        for route in Route.objects.filter(organization=owner, task_type__in=[task_type, ANY])
    }
    route = rows.get((task_type, True)) or rows.get((task_type, False))
    if route is None and (able := _able(organization, task_type)):
        return able, False
    if route is not None:
        return route.agent_id, route.needs_approval
    route = rows.get((ANY, True)) or rows.get((ANY, False))
    if route is None:
        return "", False
    return "" if task_type in handlers.workers_only() else route.agent_id, route.needs_approval


def _able(organization: Organization, task_type: str) -> str:
    agents = Agent.objects.filter(organization=organization, status=Agent.Status.ACTIVE)
    rows = agents.values_list("agent_id", "capabilities")
    return next((agent_id for agent_id, capabilities in rows if task_type in capabilities), "")


def ensure(organization: Organization, agent_id: str) -> None:
    """Make the agent that a route names, when the organization has none of that id yet."""
    if agent_id and not organization.agents.filter(agent_id=agent_id).exists():
        name = agent_id.replace("_", " ").capitalize()
        Agent.objects.get_or_create(organization=organization, agent_id=agent_id, defaults={"name": name})
