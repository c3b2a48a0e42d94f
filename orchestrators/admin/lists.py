"""Processes: a list to look at."""

from django.contrib import admin
from django.contrib.admin import display
from django.utils.safestring import SafeString

from orchestrators.models import Node
from orgs.admin.base import ReadOnlyAdmin, ago


@admin.register(Node)
class NodeAdmin(ReadOnlyAdmin):
    """The web processes that hold sockets."""

    list_display = ["node_id", "hostname", "pid", "sessions", "beat", "started"]
    ordering = ["-beat_at"]
    fields = ["node_id", "hostname", "pid", "sessions", "beat", "started", "heartbeats"]
    readonly_fields = fields

    @display(description="Last beat", ordering="beat_at")
    def beat(self, row: Node) -> SafeString:
        """Show when it was alive."""
        return ago(row.beat_at)

    @display(description="Started", ordering="started_at")
    def started(self, row: Node) -> SafeString:
        """Show when it started."""
        return ago(row.started_at)
