"""What the tests of alerts share: an imagined clock that beats sweep and engine, and organizations with fleets."""

from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from monitoring.alerts import engine
from monitoring.models import Alert
from orchestrators import presence
from orchestrators.models import Instance, Node
from orgs import counters, leases
from orgs.models import Counter, Organization


class Beat:
    """Celery's beat in imagined time: the sweep every 5 s, the engine every 10 s."""

    def __init__(self) -> None:
        self.now = timezone.now()
        counters.flush(now=self.now)  # what other tests counted in this process
        Counter.objects.all().delete()
        Node.objects.create(
            node_id="alive", hostname="h", pid=1, started_at=self.now, beat_at=self.now + timedelta(days=30)
        )
        self.tick()

    @property
    def heard(self) -> datetime:
        """When a fleet was last heard of that is about to be declared dark."""
        return self.now - timedelta(seconds=settings.HEARTBEAT_TTL_SEC - 25)

    def tick(self) -> None:
        leases.note(leases.BEAT, holder="beat", now=self.now + timedelta(seconds=5))
        presence.sweep(holder="beat", now=self.now)
        presence.sweep(holder="beat", now=self.now + timedelta(seconds=5))
        engine.run(holder="beat", now=self.now + timedelta(seconds=5))

    def run(self, seconds: float, *, beating: Any = ()) -> None:
        """Let time pass; `beating` are orchestrator ids that are heard of all the while."""
        until = self.now + timedelta(seconds=seconds)
        while self.now < until:
            self.now += timedelta(seconds=10)
            if beating:
                Instance.objects.filter(orchestrator_id__in=beating).update(
                    deadline_at=Instance.deadline_after(self.now), status="active"
                )
            self.tick()

    def pause(self, seconds: float) -> None:
        """Let time pass that nothing of the controller sees."""
        self.now += timedelta(seconds=seconds)


def organization(organization_id: str) -> Organization:
    return Organization.objects.create(organization_id=organization_id, name=organization_id)


def fleet(home: Organization, number: int, *, now: datetime, prefix: str = "", **columns: Any) -> list[str]:
    """Make living orchestrators, last heard of within one heartbeat interval before `now`."""
    names = [f"{prefix or home.pk}-{index}" for index in range(number)]
    spread = settings.HEARTBEAT_INTERVAL_SEC
    rows = []
    for index, name in enumerate(names):
        seen = now - timedelta(seconds=spread * index / max(1, number))
        values = {"status": "active", "last_seen": seen, "deadline_at": Instance.deadline_after(seen), **columns}
        rows.append(Instance(orchestrator_id=name, organization=home, epoch=1, **values))
    Instance.objects.bulk_create(rows)
    return names


def announced() -> list[str]:
    """Return `type` or `type organization` of every announcement there ever was, also to nobody, in no order."""
    return sorted(
        f"{row.alert_type} {row.organization_id}".strip()
        for row in Alert.objects.all()
        for line in row.timeline
        if line["what"] in ("announced", "nobody was told")
    )


def kinds() -> dict[str, str]:
    """Return {dedup key: status} of all alerts."""
    return dict(Alert.objects.values_list("dedup_key", "status"))
