"""Messages and processes: lists to look at."""

from django.contrib import admin
from django.contrib.admin import display
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import ChoicesCheckboxFilter

from orchestrators.admin import badges
from orchestrators.models import Message, Node
from orgs.admin.base import LongListAdmin, ReadOnlyAdmin, ago, exact
from orgs.admin.trail import pretty


@admin.register(Message)
class MessageAdmin(LongListAdmin):
    """Messages both ways; sending is on the orchestrator's page."""

    list_display = ["when", "message_type", "way", "orchestrator_id", "state", "attempts", "message_id", "error"]
    list_filter = [
        ("status", ChoicesCheckboxFilter), ("direction", ChoicesCheckboxFilter),
    ]  # fmt: skip
    search_fields = ["message_id", "message_type", "orchestrator__orchestrator_id"]
    ordering = ["-id"]
    fields = [
        "message_id", "message_type", "way", "orchestrator", "state", "content", "attempts", "error", "answer",
        "created", "sent", "next_attempt", "finished", "expires", "created_by",
    ]  # fmt: skip
    readonly_fields = fields

    @display(description="Created", ordering="id")
    def when(self, row: Message) -> SafeString:
        """Show the time."""
        return ago(row.created_at)

    @display(description="Created")
    def created(self, row: Message) -> str:
        """Show the time."""
        return exact(row.created_at)

    @display(description="Sent")
    def sent(self, row: Message) -> str:
        """Show when it went out last."""
        return exact(row.sent_at)

    @display(description="Next attempt")
    def next_attempt(self, row: Message) -> str:
        """Show when it goes out again."""
        return exact(row.next_attempt_at)

    @display(description="Finished")
    def finished(self, row: Message) -> str:
        """Show when it was delivered or given up."""
        return exact(row.finished_at)

    @display(description="Expires")
    def expires(self, row: Message) -> str:
        """Show when it is given up."""
        return exact(row.expires_at)

    @display(description="Way", ordering="direction")
    def way(self, row: Message) -> str:
        """Show the direction."""
        return "↓ to it" if row.direction == Message.Direction.OUTBOUND else "↑ from it"

    @display(description="Status", ordering="status")
    def state(self, row: Message) -> SafeString:
        """Show the badge."""
        return badges.message(row)

    @display(description="Content")
    def content(self, row: Message) -> SafeString:
        """Show the content."""
        return pretty(row.message_content)

    @display(description="Result")
    def answer(self, row: Message) -> SafeString:
        """Show what the orchestrator answered."""
        return pretty(row.result)


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
