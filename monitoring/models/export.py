"""The files of exports: in the database, in pieces, because the worker that writes one and the web share no disk."""

from django.db import models

from orchestrators.models import Job
from orgs.models import Organization


class ExportChunk(models.Model):
    """A piece of an export's file, compressed; it goes with its job, and with its organization."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+", db_index=False)
    organization = models.ForeignKey(Organization, null=True, on_delete=models.CASCADE, related_name="+")
    number = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        db_table = "export_chunks"
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="one_export_chunk_per_number")]

    def __str__(self) -> str:
        return f"{self.job_id}, piece {self.number}"
