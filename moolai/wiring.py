"""What the apps export to each other, in one table: to add a frame type or a topic, add its line here."""

from operator import attrgetter

from monitoring import frames, overview
from monitoring.dashboard import feed
from orchestrators import configuration, hub, wakeups
from orchestrators.hub import FrameHandler
from orchestrators.messages import inbox, outbox
from orgs import events

INBOUND = FrameHandler(inbox.check, inbox.store, attrgetter("weight"))

FRAME_HANDLERS = {
    "monitoring": FrameHandler(frames.check, frames.store, attrgetter("weight")),
    "recommendation": INBOUND,
    "message": INBOUND,
    "ack": FrameHandler(outbox.check_ack, outbox.acknowledge),
    "config_status": FrameHandler(configuration.check, configuration.store),
}

# What counts calls, tokens, costs and alerts for the overview: the gateway's ledger and the alerts, once there are any.
OVERVIEW_SOURCES: tuple[overview.Source, ...] = ()


def connect() -> None:
    """Install the table; called once per process, when the apps are ready."""
    hub.install(FRAME_HANDLERS)
    overview.install(OVERVIEW_SOURCES)
    events.on_wake(wakeups.publish)
    events.on_wake(feed.wake)
