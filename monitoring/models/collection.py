"""How collecting went: one row per organization that samples of this controller's host were collected for."""

from django.db import models


class Collection(models.Model):
    """The last run, and what all of them came to. Lives in the default database: it outlives the measurements'."""

    organization_id = models.CharField(max_length=50, primary_key=True)
    last_run_at = models.DateTimeField(null=True)  # of any kind, well or not
    scheduled_at = models.DateTimeField(null=True)  # of the clock's
    records = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveBigIntegerField(default=0)
    missed = models.PositiveBigIntegerField(default=0)  # runs that the clock should have done and did not
    last_error = models.TextField(blank=True)
    last_error_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "metric_collections"

    def __str__(self) -> str:
        return self.organization_id
