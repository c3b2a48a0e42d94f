"""The senders: one file for each kind of channel; pure functions that say one thing to one receiver.

Each has `send(letter)`, which returns when the receiver has taken it and raises Refused or Later otherwise. They touch
no database: a Letter holds all they need.
"""

from collections.abc import Callable, Mapping
from typing import Final

from monitoring.alerts.senders import pagerduty, slack, smtp, webhook
from monitoring.alerts.senders.letters import Later, Letter, Refused

SENDERS: Final[Mapping[str, Callable[[Letter], None]]] = {
    "slack": slack.send,
    "email": smtp.send,
    "pagerduty": pagerduty.send,
    "webhook": webhook.send,
}

__all__ = ["SENDERS", "Later", "Letter", "Refused", "send"]


def send(letter: Letter) -> None:
    """Send a letter; raises Refused, when there is no use in trying again, and Later."""
    SENDERS[letter.kind](letter)
