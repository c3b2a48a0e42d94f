"""The outbox of alerts: what the channels are to be told. Nothing listens yet."""

from datetime import datetime
from typing import Final

from monitoring.models import Alert

ACTIONS: Final = ("trigger", "acknowledge", "resolve", "escalate")


def enqueue(alert: Alert, action: str, *, not_before: datetime | None = None) -> None:
    """Note, in the running transaction, that the channels are to be told of `action`.

    Actions of one alert are told in this order. A trigger that waits is dropped by the resolve that follows it. An
    alert that came back is triggered anew with the same dedup key, after its resolve.
    """
    assert action in ACTIONS
