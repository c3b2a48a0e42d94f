"""Events: what happened in the fleet, as rows other rooms and processes read by a cursor."""

from django.db import models


class Event(models.Model):
    """One thing that happened, written in the transaction of its cause by `orgs.events` alone."""

    organization_id = models.CharField(max_length=50, blank=True)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    kind = models.CharField(max_length=50)
    data = models.JSONField(default=dict)
    created_at = models.DateTimeField()

    class Meta:
        db_table = "events"
        ordering = ["-id"]
        indexes = [
            models.Index(fields=["orchestrator_id", "-id"], name="events_by_orchestrator"),
            models.Index(fields=["organization_id", "-id"], name="events_by_organization"),
            models.Index(fields=["created_at"], name="events_by_time"),
            models.Index(fields=["created_at"], name="events_published", condition=models.Q(kind="event.published")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.orchestrator_id or self.organization_id}"
