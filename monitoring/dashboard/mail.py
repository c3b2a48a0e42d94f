"""The topic `messages`: the state of messages both ways as dashboards see it, without contents. Reads rows."""

from collections.abc import Iterable, Sequence
from typing import Any, Final

from django.db.models import QuerySet

from monitoring.dashboard.topics import Frame, Scope
from orchestrators.models import Instance, Message
from orchestrators.protocol import iso
from orgs.models import Event

RECENT: Final = 50
MAX_FOLLOWED: Final = 1000
OPEN: Final = (Message.Status.PENDING, Message.Status.SENT)
COLUMNS: Final = (
    "id", "message_id", "orchestrator_id", "orchestrator__organization_id", "direction", "message_type", "status",
    "attempts", "error", "created_at", "sent_at", "next_attempt_at", "finished_at",
)  # fmt: skip


def frames(rows: QuerySet[Message]) -> list[Frame]:
    """Return a `message` frame for each row."""
    return [_frame(*columns) for columns in rows.values_list(*COLUMNS)]


def _frame(pk: int, message_id: str, orchestrator_id: str, organization_id: str, *rest: Any) -> Frame:
    direction, message_type, status, attempts, error, *moments = rest
    created_at, sent_at, next_attempt_at, finished_at = (iso(moment) if moment else None for moment in moments)
    return {
        "type": "message",
        "id": pk,
        "message_id": message_id,
        "orchestrator_id": orchestrator_id,
        "organization_id": organization_id,
        "direction": direction,
        "message_type": message_type,
        "status": status,
        "attempts": attempts,
        "error": error,
        "created_at": created_at,
        "sent_at": sent_at,
        "next_attempt_at": next_attempt_at,
        "finished_at": finished_at,
    }


def recent(scope: Scope) -> list[Frame]:
    """Return the newest messages of both directions, oldest first."""
    rows = Message.objects.all()
    if scope != Scope(None):
        rows = rows.filter(orchestrator__in=scope.narrow(Instance.objects.present()))
    return frames(rows.order_by("-id")[:RECENT])[::-1]


class Mail:
    """Follows messages while anybody watches.

    Events name those that were queued or settled; each look asks the open ones whether they were sent, which is no
    event: it would be a row more for every message.
    """

    def __init__(self) -> None:
        self._open: dict[int, tuple[str, int]] = {}  # pk → status and attempts as shown
        self._is_begun = False

    def read(self, rows: Sequence[Event]) -> list[Frame]:
        """Return the frames of messages that `rows` tell of, and of open ones that moved."""
        if not self._is_begun:
            self._is_begun = True
            return self._begin()
        changed = {pk for pk, *state in self._states() if self._open.get(pk) != tuple(state)}
        told = [row.data["message_id"] for row in rows if row.kind.startswith("message.") and "message_id" in row.data]
        found = {frame["id"]: frame for frame in frames(Message.objects.filter(pk__in=changed))} if changed else {}
        if told:
            names = {row.orchestrator_id for row in rows if row.kind.startswith("message.")}
            named = Message.objects.filter(orchestrator__orchestrator_id__in=names, message_id__in=told).order_by("id")
            found |= {frame["id"]: frame for frame in frames(named)}
        self._note(found.values())
        return list(found.values())

    def _begin(self) -> list[Frame]:
        """Look up what to follow, and show the newest of it: it may have moved since the first snapshot."""
        newest = Message.objects.filter(direction=Message.Direction.OUTBOUND, status__in=OPEN).order_by("-id")
        followed = frames(newest[:MAX_FOLLOWED])[::-1]
        self._note(followed)
        return followed[-RECENT:]

    def _states(self) -> list[tuple[Any, ...]]:
        if not self._open:
            return []
        return list(Message.objects.filter(pk__in=list(self._open)).values_list("pk", "status", "attempts"))

    def _note(self, shown: Iterable[Frame]) -> None:
        """Remember which are open; beyond the bound the oldest are forgotten, and only told of when they end."""
        for frame in shown:
            self._open.pop(frame["id"], None)
            if frame["status"] in OPEN:
                self._open[frame["id"]] = (frame["status"], frame["attempts"])
        for pk in list(self._open)[: max(0, len(self._open) - MAX_FOLLOWED)]:
            del self._open[pk]
