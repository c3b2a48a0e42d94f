"""How many alerts are open, for the overview and the console."""

from collections.abc import Collection, Mapping
from typing import Final

from django.db.models import Count, F, Q

from monitoring.models import Alert
from monitoring.periods import Period

SHARE: Final = Q(parent__alert_type=F("alert_type"), parent__organization_id="", orchestrator_id="")


def overview(organizations: Collection[str] | None, period: Period) -> Mapping[str, Mapping[str, int]]:
    """Return {organization id: {"alerts_open": …}} as of now; what is part of an incident is not counted beside it.

    The controller's own alerts stand under "" and are counted for superadmins alone (`organizations` None); others see
    no incident of the installation, and theirs is their organization's share in it.
    """
    rows, stands = Alert.objects.unresolved(), Q(parent__isnull=True)
    if organizations is not None:
        rows, stands = rows.filter(organization_id__in=organizations), stands | SHARE
    rows = rows.filter(stands)
    found = rows.order_by().values_list("organization_id").annotate(number=Count("pk"))
    return {organization_id: {"alerts_open": number} for organization_id, number in found}


def visible(*, most: int) -> int:
    """Return how many alerts are open, incidents without their children; `most` when there are more."""
    return len(Alert.objects.unresolved().filter(parent__isnull=True).order_by().values_list("pk")[:most])
