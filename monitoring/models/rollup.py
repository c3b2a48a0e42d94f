"""Roll-ups: an hour or a day of samples in one row, and the marks of those that are to be computed again."""

from django.db import models

ALL = "*"  # no identifier: stands for every orchestrator of an organization, or for every organization


class MetricRollup(models.Model):
    """What the samples of one hour or one day come to, per orchestrator, per organization and in all.

    `columns` is `{column: [count, sum, smallest, largest, [bucket, count, …]]}` of the columns that had a value, and
    `summaries` the same without the histograms: a twentieth of it, stored in the row itself, and all that charts read.
    """

    class Resolution(models.TextChoices):
        """How much time one row covers."""

        HOURLY = "hourly"
        DAILY = "daily"

    resolution = models.CharField(max_length=10, choices=Resolution)
    organization_id = models.CharField(max_length=50)
    orchestrator_id = models.CharField(max_length=50, blank=True)
    start_at = models.DateTimeField()
    samples = models.PositiveBigIntegerField()
    columns = models.JSONField(default=dict)
    summaries = models.JSONField(default=dict)

    class Meta:
        db_table = "metric_rollups"
        constraints = [
            models.UniqueConstraint(
                fields=["organization_id", "orchestrator_id", "resolution", "start_at"], name="one_rollup_per_bucket"
            )
        ]
        indexes = [models.Index(fields=["resolution", "start_at"], name="metric_rollups_by_time")]

    def __str__(self) -> str:
        return f"{self.orchestrator_id or self.organization_id}, {self.resolution} from {self.start_at:%Y-%m-%d %H:%M}"


class MetricMark(models.Model):
    """Buckets that are to be computed from `due_at` on: written with the samples, in their transaction.

    `sources` is a list of [organization id, orchestrator id].
    """

    resolution = models.CharField(max_length=10, choices=MetricRollup.Resolution)
    start_at = models.DateTimeField()
    due_at = models.DateTimeField()
    sources = models.JSONField(default=list)

    class Meta:
        db_table = "metric_marks"
        indexes = [models.Index(fields=["due_at", "id"], name="metric_marks_by_due")]

    def __str__(self) -> str:
        return f"{self.resolution} from {self.start_at:%Y-%m-%d %H:%M}"
