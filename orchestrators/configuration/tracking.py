"""Tracking: the job that shows how far a staged rollout is. The rollout's own rows stay the truth; a job is a view."""

from typing import Any, Final

from orchestrators import jobs
from orchestrators.configuration.progress import Progress
from orchestrators.models import Instance, Job, Rollout
from orgs.models import Organization, User

KIND: Final = "rollout"
ENDS: Final = {
    Rollout.Status.COMPLETED: Job.Status.COMPLETED,
    Rollout.Status.HALTED: Job.Status.FAILED,
    Rollout.Status.CANCELLED: Job.Status.CANCELLED,
}


def begin(rollout: Rollout, *, acting_user: User | None) -> None:
    """Write the job of a staged rollout that begins."""
    fleet = Instance.objects.present().filter(organization_id=rollout.organization_id)
    rollout.job = jobs.track(
        KIND,
        request={"rollout": rollout.pk, "version": rollout.version, "stages": rollout.stages},
        acting_user=acting_user,
        organization_id=rollout.organization_id,
        total=fleet.count(),
    )
    rollout.save(update_fields=["job"])


def follow(rollout: Rollout, counts: Progress) -> None:
    """Write to the job how far its rollout is."""
    if rollout.job_id is not None:
        jobs.move(rollout.job_id, **_counts(counts))


def end(rollout: Rollout) -> None:
    """Close the job of a rollout that has ended."""
    if rollout.job_id is None:
        return
    counts = Progress(**rollout.outcome)
    done = {"total": counts.members} if rollout.status == Rollout.Status.COMPLETED else {}
    result = {"rollout": rollout.pk, "status": rollout.status, "reason": rollout.reason}
    status = ENDS[Rollout.Status(rollout.status)]
    jobs.move(rollout.job_id, status=status, errors=rollout.failures, result=result, **_counts(counts), **done)


def abandon(organization: Organization) -> None:
    """Close what would be left open when an organization is deleted with its rollouts."""
    for pk in Job.objects.filter(kind=KIND, organization_id=organization.pk).values_list("pk", flat=True):
        jobs.move(pk, status=Job.Status.CANCELLED)


def _counts(counts: Progress) -> dict[str, Any]:
    return {"done": counts.applied + counts.sent, "failed": counts.failed}
