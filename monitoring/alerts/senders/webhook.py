"""Webhooks: JSON to any address, signed with HMAC-SHA256 over the time and the body (docs/channels.md)."""

import hashlib
import hmac
import time
from typing import Any, Final

from monitoring.alerts import notices
from monitoring.alerts.senders import letters
from monitoring.alerts.senders.letters import Letter

DELIVERY, EVENT, TIMESTAMP, SIGNATURE = (
    "X-Moolai-Delivery", "X-Moolai-Event", "X-Moolai-Timestamp", "X-Moolai-Signature",
)  # fmt: skip
VERSION: Final = "v1"


def send(letter: Letter) -> None:
    """Post one notification; raises Refused or Later."""
    body, timestamp = letters.encode(document(letter)), str(int(time.time()))
    headers = {
        DELIVERY: letter.delivery_id,
        EVENT: f"{notices.subject(letter.notice)}.{letter.action}",
        TIMESTAMP: timestamp,
        SIGNATURE: f"{VERSION}={sign(letter.secret, timestamp, body)}",
    }
    letters.call(letter, body, headers=headers)


def document(letter: Letter) -> dict[str, Any]:
    """Return the body; `delivery_id` is the same in every attempt."""
    about = {notices.subject(letter.notice): dict(letter.notice)}
    return {"delivery_id": letter.delivery_id, "action": letter.action, **about}


def sign(secret: str, timestamp: str, body: bytes) -> str:
    """Return HMAC-SHA256 over `<timestamp>.<body>` as hexadecimal digits."""
    return hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
