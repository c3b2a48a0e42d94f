"""What the apps export to each other, in one table: to add a frame type or a topic, add its line here."""

from operator import attrgetter

from monitoring import frames
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


def connect() -> None:
    """Install the table; called once per process, when the apps are ready."""
    hub.install(FRAME_HANDLERS)
    events.on_wake(wakeups.publish)
    events.on_wake(feed.wake)
