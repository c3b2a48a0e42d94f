"""Leases: rows that let exactly one of several processes do a periodic job."""

from django.db import models


class Lease(models.Model):
    """The right to run the job `name` until `expires_at`; taken by a conditional update in `orgs.leases`."""

    name = models.CharField(primary_key=True, max_length=50)
    holder = models.CharField(max_length=100, blank=True)
    expires_at = models.DateTimeField()
    ran_at = models.DateTimeField(null=True, help_text="When the job last ran to its end.")

    class Meta:
        db_table = "leases"

    def __str__(self) -> str:
        return self.name
