"""What a subscriber is told first: everything as it is now, or what happened since it was last here. Reads rows."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db.models import Q
from django.utils import timezone

from monitoring.dashboard import alerts, mail, samples, topics
from monitoring.dashboard import snapshots as dashboards
from monitoring.dashboard.feed import STATUS_KINDS
from monitoring.dashboard.movement import OVERLAP
from monitoring.dashboard.place import Place
from monitoring.dashboard.topics import Frame
from monitoring.streams import history
from monitoring.streams.plans import TOPICS, Plan, Stream
from orchestrators.models import Instance, Message
from orgs.events import GAP_SECONDS
from orgs.models import Event

KEPT: Final = timedelta(minutes=10)  # how long ago a client may have been here to be told what it missed
LATE: Final = timedelta(seconds=GAP_SECONDS)  # an event appears within this time of being made
MAX_MISSED: Final = 2000


def read(plan: Plan) -> list[Frame]:
    """Return the frames of a new subscription."""
    frames = history.frames(plan) if plan.stream is Stream.METRICS else []
    for topic in sorted(TOPICS[plan.stream]):
        frames += dashboards.SNAPSHOTS[topic](plan.scope)
    return frames


def missed(plan: Plan, after: Place) -> list[Frame] | None:
    """Return what happened since `after`, None when that is too long ago or too much: then all of it is new.

    States are told as they are now, once each; what was told may be told again.
    """
    if plan.stream is Stream.HEALTH:
        return read(plan)
    since = datetime.fromtimestamp(after.at_ms / 1000, UTC)
    if not timedelta(0) <= timezone.now() - since + OVERLAP <= KEPT:
        return None
    found = samples.after(after.sample, plan.scope, limit=MAX_MISSED)
    if plan.stream is Stream.EVERYTHING:
        recent = Event.objects.filter(id__gt=after.event, created_at__gte=since - LATE)
        rows = list(recent.order_by("id")[: MAX_MISSED + 1])
        if len(rows) > MAX_MISSED:
            return None
        ours = [row for row in rows if plan.scope.reaches(row.organization_id)]
        found = [*_states(plan, ours, since), *_messages(plan, ours), *alerts.frames(ours), *found]
    return found if len(found) < MAX_MISSED else None


def _states(plan: Plan, rows: Iterable[Event], since: datetime) -> list[Frame]:
    """Return the orchestrators that events name or that were heard of."""
    rows = [row for row in rows if row.kind.startswith(STATUS_KINDS)]
    named = {row.orchestrator_id for row in rows if row.orchestrator_id}
    whole = {row.organization_id for row in rows if not row.orchestrator_id}
    moved = Q(last_seen__gte=since - OVERLAP) | Q(orchestrator_id__in=named) | Q(organization_id__in=whole)
    visible = plan.scope.narrow(Instance.objects.present())
    return topics.status_frames(visible.filter(moved).order_by("orchestrator_id")[:MAX_MISSED])


def _messages(plan: Plan, rows: Iterable[Event]) -> list[Frame]:
    """Return the messages that events name, and those that are on their way: being sent is no event."""
    told = [row for row in rows if row.kind.startswith("message.") and "message_id" in row.data]
    ids, whose = {row.data["message_id"] for row in told}, {row.orchestrator_id for row in told}
    named = Q(message_id__in=ids, orchestrator__orchestrator_id__in=whose)
    wanted = named | Q(status__in=mail.OPEN, direction=Message.Direction.OUTBOUND)
    found: Any = Message.objects.filter(wanted)
    if plan.scope.organizations is not None:
        found = found.filter(orchestrator__organization_id__in=plan.scope.organizations)
    return mail.frames(found.order_by("id")[:MAX_MISSED])
