"""Time limits of open sessions: silence, a client that does not read, a credential that runs out (PROTOCOL §3)."""

from collections.abc import Iterable
from datetime import datetime

from django.conf import settings

from orchestrators import protocol
from orchestrators.protocol import FrameError
from orchestrators.session import Session


def watch(sessions: Iterable[Session], *, clock: float, now: datetime) -> None:
    """Close or warn what is due at monotonic `clock` and `now`; 10,000 sessions cost a few milliseconds."""
    ttl, lag = float(settings.HEARTBEAT_TTL_SEC), float(settings.WS_LAG_SECONDS)
    for session in sessions:
        if session.sending and clock - session.sending_since > lag:
            detail = "You do not read what you are sent; reconnect and read."
            session.drop(protocol.OVERLOAD, FrameError("slow_consumer", detail, retry_after_ms=1000))
        elif clock - session.seen > ttl and not session.is_independent:
            detail = f"No heartbeat for {settings.HEARTBEAT_TTL_SEC} s; reconnect."
            session.spawn(session.close(protocol.TIMEOUT, FrameError("heartbeat_timeout", detail)))
        elif settings.HEARTBEAT_POKER_ENABLED and clock - session.seen > ttl / 2 and not session.is_independent:
            _poke(session)
        if session.expires_at is not None:
            _watch_expiry(session, left_seconds=(session.expires_at - now).total_seconds())


def _poke(session: Session) -> None:
    if not session.has_been_poked:
        session.has_been_poked = True
        session.spawn(session.write('{"type":"poke"}'))


def _watch_expiry(session: Session, *, left_seconds: float) -> None:
    assert session.expires_at is not None
    if left_seconds <= 0:
        problem = FrameError("unauthenticated", "The key expired; register with another one.")
        session.spawn(session.close(protocol.UNAUTHENTICATED, problem))
    elif left_seconds <= 60 and not session.has_been_warned:
        session.has_been_warned = True
        frame = {"type": "credential_expiring", "expires_at": protocol.iso(session.expires_at)}
        session.spawn(session.write(protocol.dump(frame)))
