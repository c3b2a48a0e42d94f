"""On whose behalf a prompt is run: the standing that the plane gives a caller of `/v1`, with the same limits."""

from llm_gateway.money import limits
from llm_gateway.plane.callers import Standing
from moolai.errors import Forbidden
from orgs.authentication import Caller
from orgs.models import Organization, Role


def of(who: Caller, organization: Organization) -> Standing:
    """Return a caller's standing; raises `forbidden` for viewers, and where the organization is suspended."""
    if not organization.is_open:
        raise Forbidden(detail="The organization is suspended.")
    if not may_ask(who, organization):
        raise Forbidden(detail="Viewers may not call models.")
    key_id = who.key.key_id if who.key else ""
    held = limits.load(organization.pk, key_id=key_id)
    orchestrator_id = who.key.orchestrator_id if who.key else ""
    return Standing(who.caller_id, who.name, organization.pk, key_id, orchestrator_id, held=held)


def may_ask(who: Caller, organization: Organization) -> bool:
    """Whether a caller may run prompts there."""
    return who.is_superadmin or who.roles.get(organization.pk) in (Role.ADMIN, Role.OPERATOR)
