"""A fleet that rollouts are tested on: twenty connected orchestrators, and their reports as the desk stores them."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from orchestrators import configuration, instances
from orchestrators.configuration import Report, rollouts
from orchestrators.models import Instance, Rollout
from orgs import organizations
from orgs.models import Organization

OLD: dict[str, Any] = {"features": {"n": 1}}
NEW: dict[str, Any] = {"features": {"n": 2}}


def settle() -> Organization:
    """Make an organization at version 1, with twenty connected orchestrators that have applied it."""
    home = organizations.create("org-001", name="Acme", acting_user=None)
    for number in range(20):
        instances.create(f"orch-{number:02}", organization=home, acting_user=None)
    Instance.objects.update(is_connected=True, is_acknowledging=True)
    configuration.publish(home, OLD, acting_user=None)
    report(fleet())
    assert Rollout.objects.get().status == "completed"
    return home


def fleet(**where: Any) -> list[Instance]:
    return list(Instance.objects.filter(**where).order_by("orchestrator_id"))


def report(rows: Sequence[Instance], status: str = "applied", error: str = "") -> None:
    fresh = Instance.objects.filter(pk__in=[row.pk for row in rows]).order_by("pk")
    configuration.store(
        [Report(row.pk, row.orchestrator_id, row.organization_id, row.config_hash, status, error) for row in fresh]
    )


def running(n: int) -> list[Instance]:
    """Return who should run {"features": {"n": n}}."""
    found = Instance.objects.select_related("organization", "config_base")
    return [row for row in found if row.config_document()["features"] == {"n": n}]


def begin(home: Organization, *percents: float, **limits: Any) -> Rollout:
    wanted = [{"percent": percent} for percent in percents]
    return rollouts.start(home, NEW, wanted=wanted, acting_user=None, **limits)


def again(rollout: Rollout) -> Rollout:
    return Rollout.objects.select_related("target", "previous").get(pk=rollout.pk)


def later(seconds: float) -> None:
    rollouts.sweep(now=timezone.now() + timedelta(seconds=seconds))


def released(home: Organization) -> Any:
    return Organization.objects.get(pk=home.pk).settings["config"]
