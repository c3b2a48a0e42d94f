"""Letters: what a sender is given, what may go wrong, and the one way in which HTTP senders call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from orgs import destinations, outgoing
from orgs.destinations import Destination, NotAllowed, Unresolved

AGAIN: Final = frozenset({408, 429})  # of the 4xx, those that pass


class Refused(Exception):
    """The receiver does not want this letter, now or later; the text is for people and quotes no answer."""


class Later(Exception):
    """It did not work this time; `retry_after_seconds` is what the receiver asked for."""

    def __init__(
        self, reason: str, *, retry_after_seconds: float | None = None, may_have_arrived: bool = False
    ) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class Letter:
    """One notification with everything it takes to send it; it is not begun after `until` (monotonic seconds)."""

    kind: str
    url: str = field(repr=False)
    secret: str = field(repr=False)
    settings: Mapping[str, Any]
    allowed_networks: tuple[str, ...]
    delivery_id: str
    action: str
    notice: Mapping[str, Any]
    until: float

    @property
    def dedup_key(self) -> str:
        """What makes several notifications one story."""
        return str(self.notice["dedup_key"])


def call(letter: Letter, body: bytes, *, headers: Mapping[str, str] | None = None) -> None:
    """POST JSON to the letter's address, checked once more; raises Refused or Later."""
    try:
        destination = destinations.resolve(letter.url, allowed_networks=letter.allowed_networks)
    except NotAllowed as problem:
        raise Refused(f"{problem.code}: {problem.detail}") from None
    except Unresolved as problem:
        raise Later(str(problem)) from None
    post(destination, body, headers=headers or {}, until=letter.until)


def post(destination: Destination, body: bytes, *, headers: Mapping[str, str], until: float) -> None:
    """POST JSON to a destination; raises Refused or Later."""
    headers = {"Content-Type": "application/json", "User-Agent": "moolai", **headers}
    try:
        answer = outgoing.post(destination, body, headers=headers, until=until)
    except outgoing.Failed as problem:
        raise Later(str(problem), may_have_arrived=problem.may_have_arrived) from None
    status = answer.status
    if 200 <= status < 300:
        return
    if status in AGAIN or status >= 500:
        wait = answer.retry_after_seconds
        raise Later(f"answered {status}", retry_after_seconds=wait, may_have_arrived=status != 429)
    raise Refused(f"answered {status}" + (", and redirects are not followed" if 300 <= status < 400 else ""))


def encode(document: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
