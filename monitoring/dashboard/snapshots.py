"""The table of topics: what somebody who begins to watch one is shown first. Reads rows, runs in threads."""

from collections.abc import Callable
from functools import partial
from typing import Final

from monitoring.dashboard import alerts, health, mail, samples, topics
from monitoring.dashboard.topics import Frame, Scope


def metrics(topic: str, scope: Scope) -> list[Frame]:
    """Return the newest sample of everybody, or the topic's part of it."""
    return [samples.part(whole, [topic]) for whole in samples.latest(scope)]


SNAPSHOTS: Final[dict[str, Callable[[Scope], list[Frame]]]] = {
    "orchestrators": topics.orchestrators,
    "events": topics.recent_events,
    "fleet": topics.fleet,
    "messages": mail.recent,
    "alerts": alerts.open_ones,
    "system_health": health.frames,
    **{topic: partial(metrics, topic) for topic in samples.PARTS},
}
