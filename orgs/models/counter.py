"""Counters: how often something was refused, by the minute."""

from django.db import models


class Counter(models.Model):
    """How often `name` happened to `subject` in one minute; written in bulk by `orgs.counters` alone."""

    name = models.CharField(max_length=40)
    subject = models.CharField(max_length=120)
    minute = models.DateTimeField()
    number = models.PositiveIntegerField()

    class Meta:
        db_table = "counters"
        constraints = [models.UniqueConstraint(fields=["name", "subject", "minute"], name="counters_once")]
        indexes = [
            models.Index(fields=["name", "minute"], name="counters_by_name"),
            models.Index(fields=["minute"], name="counters_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.subject}: {self.number}"
