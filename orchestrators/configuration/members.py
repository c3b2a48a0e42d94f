"""Members: whom a rollout gives its version, and who goes back. The organization's lock is held by whoever calls."""

from collections.abc import Sequence
from typing import Any

from moolai.errors import InvalidInput
from orchestrators import selection
from orchestrators.configuration import desired, documents, stages
from orchestrators.models import ConfigVersion, Instance, Rollout
from orchestrators.models.instance import released
from orgs.models import Organization


def require(plan: Sequence[stages.Stage], organization: Organization) -> None:
    """Refuse a stage by labels that nobody carries: it would be over at once, and the next one everybody's."""
    fleet = Instance.objects.present().filter(organization=organization)
    for index, stage in enumerate(plan):
        if "labels" in stage and not selection.by_labels(fleet, stage["labels"]).exists():
            raise InvalidInput(fields={f"stages[{index}]": f"No orchestrator carries {stages.text(stage)}."})


def locked(organization: Organization, **where: Any) -> list[Instance]:
    """Return present instances, locked in the order every writer takes these locks in."""
    rows = Instance.objects.present().filter(organization=organization, **where)
    return list(rows.select_for_update(of=("self",), no_key=True).order_by("pk"))


def release(organization: Organization, version: ConfigVersion) -> None:
    """Make a version the organization's own."""
    if documents.digest(released(organization)) == documents.digest(version.content):
        return
    organization.settings = {**organization.settings, "config": version.content}
    organization.save(update_fields=["settings", "updated_at"])


def give(rollout: Rollout, organization: Organization) -> None:
    """Give the version to those of the stages reached who do not have it."""
    fleet = list(Instance.objects.present().filter(organization=organization))
    chosen = stages.members(fleet, rollout.stages[: rollout.stage + 1])
    lacking = [row.pk for row in chosen if row.config_base_id != rollout.target_id]
    rows = locked(organization, pk__in=lacking)
    Instance.objects.filter(pk__in=lacking).update(config_base=rollout.target)
    for row in rows:
        row.config_base = rollout.target
    desired.republish(rows, rollout=rollout)


def take_back(rollout: Rollout, organization: Organization, *, everybody: bool = False) -> None:
    """Let its members (or, at its end, the whole fleet) have the organization's own version."""
    rows = locked(organization) if everybody else locked(organization, config_base=rollout.target)
    Instance.objects.filter(config_base=rollout.target).update(config_base=None)
    for row in rows:
        row.config_base = None
    desired.republish(rows)
