"""Progress: how far a rollout has got, counted from the rows of its members."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db.models import Count

from orchestrators.configuration import stages
from orchestrators.models import Instance, Rollout

MAX_FAILURES: Final = 20
Status = Instance.ConfigStatus


@dataclass(frozen=True, slots=True)
class Progress:
    """The members of a rollout, by what became of them.

    `sent` have no way to answer (older clients), `waiting` are connected and have not said how it went, `lost` went
    away while they applied it, `offline` get it when they connect.
    """

    members: int = 0
    applied: int = 0
    sent: int = 0
    waiting: int = 0
    failed: int = 0
    lost: int = 0
    offline: int = 0

    @property
    def reached(self) -> int:
        """How many could say something to it."""
        return self.members - self.offline

    def as_dict(self) -> dict[str, int]:
        """Return the counts by name."""
        return asdict(self)


def of(rollout: Rollout) -> Progress:
    """Return the counts: of the moment while it is active, of its end afterwards."""
    if not rollout.is_active:
        return Progress(**rollout.outcome)
    return of_many([rollout])[rollout.pk]


def of_many(rollouts: Sequence[Rollout]) -> dict[int, Progress]:
    """Return the counts of several by key: one statement for all that are active."""
    found = {row.pk: Progress() if row.is_active else Progress(**row.outcome) for row in rollouts}
    active = [row.pk for row in rollouts if row.is_active]
    if not active:
        return found
    groups = (
        Instance.objects.present()
        .filter(config_rollout__in=active)
        .order_by()
        .values_list("config_rollout", "config_status", "is_connected")
        .annotate(number=Count("pk"))
    )
    counts: dict[int, Counter[str]] = {pk: Counter() for pk in active}
    for pk, status, is_connected, number in groups:
        counts[pk][_name(status, is_connected=is_connected)] += number
    return found | {pk: Progress(members=count.total(), **count) for pk, count in counts.items()}


def by_stage(rollout: Rollout) -> list[Progress]:
    """Return the counts of each stage of an active rollout; of a coming stage only how many it adds (`members`)."""
    rows = Instance.objects.present().filter(organization_id=rollout.organization_id)
    needed = ("orchestrator_id", "labels", "config_status", "is_connected", "config_rollout_id")
    fleet = list(rows.order_by().only(*needed))
    found: list[Progress] = []
    seen: set[int] = set()
    for index in range(len(rollout.stages)):
        new = [row for row in stages.members(fleet, rollout.stages[index : index + 1]) if row.pk not in seen]
        seen |= {row.pk for row in new}
        given = [row for row in new if row.config_rollout_id == rollout.pk]
        counts = Counter(_name(row.config_status, is_connected=row.is_connected) for row in given)
        found.append(Progress(members=len(given) if index <= rollout.stage else len(new), **counts))
    return found


def _name(status: str, *, is_connected: bool) -> str:
    if status in (Status.APPLIED, Status.FAILED):
        return str(status)
    if status == Status.APPLYING:
        return "waiting" if is_connected else "lost"
    if not is_connected:
        return "offline"
    return "sent" if status == Status.UNKNOWN else "waiting"


def failures(rollout: Rollout) -> list[dict[str, str]]:
    """Return up to MAX_FAILURES members that failed, with what they said."""
    if not rollout.is_active:
        return list(rollout.failures)
    rows = Instance.objects.present().filter(config_rollout=rollout, config_status=Status.FAILED)
    pairs = rows.order_by("orchestrator_id").values_list("orchestrator_id", "config_error")[:MAX_FAILURES]
    return [{"orchestrator_id": orchestrator_id, "error": error} for orchestrator_id, error in pairs]


def summary(rollout: Rollout) -> dict[str, Any]:
    """Return counts and failures as they are kept when a rollout ends."""
    return {"outcome": of(rollout).as_dict(), "failures": failures(rollout)}
