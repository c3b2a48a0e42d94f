"""Nodes: the processes that hold sockets, each with its own beat."""

from django.db import models


class Node(models.Model):
    """A web process; when its beat stops, the sweep clears the sessions it left open."""

    node_id = models.CharField(primary_key=True, max_length=100)
    hostname = models.CharField(max_length=200)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField()
    beat_at = models.DateTimeField()
    sessions = models.PositiveIntegerField(default=0)
    heartbeats = models.JSONField(
        default=list, help_text="[bucket start (epoch seconds), heartbeats] pairs, 5 s each, oldest first."
    )

    class Meta:
        db_table = "nodes"
        verbose_name, verbose_name_plural = "process", "processes"

    def __str__(self) -> str:
        return self.node_id
