"""Cursors: how far each journal file was read into the ledger."""

from django.db import models


class JournalCursor(models.Model):
    """How many bytes of a process's journal are in the ledger; moves in the transaction that writes the rows."""

    name = models.CharField(primary_key=True, max_length=140)
    holder = models.CharField(max_length=120)
    offset = models.BigIntegerField(default=0)
    is_closed = models.BooleanField(default=False, help_text="Its process is dead and everything in it was counted.")
    moved_at = models.DateTimeField()

    class Meta:
        db_table = "journal_cursors"
        indexes = [models.Index(fields=["moved_at"], name="journal_cursors_by_time")]

    def __str__(self) -> str:
        return f"{self.name} at {self.offset}"
