"""Sequels: what came after a rollout that ended early, read from the rows that its end left behind."""

from collections.abc import Sequence

from orchestrators.models import Rollout

BIG = ("target__document", "target__changes")


def superseding(rollouts: Sequence[Rollout]) -> dict[int, Rollout]:
    """Return what ended the watch over a plain change because it was newer, by the key of what it ended: one statement.

    The newer one began in the transaction that ended the older one, at the same moment.
    """
    ended = {(row.organization_id, row.finished_at): row.pk for row in rollouts if is_plainly_cancelled(row)}
    if not ended:
        return {}
    moments = {moment for _, moment in ended if moment is not None}
    rows = Rollout.objects.filter(organization_id__in={organization for organization, _ in ended})
    newer = rows.filter(started_at__in=moments).select_related("target").defer(*BIG)
    keys = {(row.organization_id, row.started_at): row for row in newer}
    return {pk: keys[key] for key, pk in ended.items() if key in keys}


def is_plainly_cancelled(rollout: Rollout) -> bool:
    """Whether it is the watch over a version released at once, and ended before the fleet had answered."""
    return rollout.status == Rollout.Status.CANCELLED and not rollout.is_staged


def way_back(rollout: Rollout) -> Rollout | None:
    """Return what took the fleet back from a version that was released at once and halted, None when nothing did."""
    if rollout.status != Rollout.Status.HALTED or rollout.is_staged:
        return None
    rows = Rollout.objects.filter(organization_id=rollout.organization_id, previous_id=rollout.target_id)
    later = rows.filter(may_roll_back=False, pk__gt=rollout.pk).select_related("target").defer(*BIG)
    return later.order_by("pk").first()
