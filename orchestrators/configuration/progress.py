"""Progress: how far a rollout has got, counted from the rows of its members."""

from dataclasses import asdict, dataclass
from typing import Any, Final

from django.db.models import Count

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
    groups = (
        Instance.objects.present()
        .filter(config_rollout=rollout)
        .order_by()
        .values_list("config_status", "is_connected")
        .annotate(number=Count("pk"))
    )
    counts: dict[str, int] = {}
    for status, is_connected, number in groups:
        name = _name(status, is_connected=is_connected)
        counts[name] = counts.get(name, 0) + number
    return Progress(members=sum(counts.values()), **counts)


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
