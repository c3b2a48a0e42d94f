"""Outgoing calls: one POST to a checked destination, at the addresses that were checked and no other.

No redirect is followed, no proxy is asked, and of the answer nothing is read but its status and Retry-After.
"""

import http.client
import socket
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from orgs.destinations import WEB, Destination

CONNECT_SECONDS: Final = 5.0


class Failed(Exception):
    """A call that got no answer; `may_have_arrived` says whether the request was on its way already."""

    def __init__(self, reason: str, *, may_have_arrived: bool) -> None:
        super().__init__(reason)
        self.may_have_arrived = may_have_arrived


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the status, and how many seconds the receiver asks to be left alone (None: not said)."""

    status: int
    retry_after_seconds: float | None


def post(destination: Destination, body: bytes, *, headers: Mapping[str, str], until: float) -> Answer:
    """Send `body` and return the answer's status, all of it by `until` (monotonic seconds); raises Failed."""
    link = dial(destination, until=until)
    try:
        with hanging_up(link, until=until):
            return _exchange(link, destination, body, headers)
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = "no answer in time" if time.monotonic() >= until else f"no answer: {type(error).__name__}"
        raise Failed(reason, may_have_arrived=True) from None
    finally:
        link.close()


def _exchange(link: socket.socket, destination: Destination, body: bytes, headers: Mapping[str, str]) -> Answer:
    connection = http.client.HTTPConnection(destination.host, destination.port)
    connection.sock = link
    own = {"Host": _authority(destination), "Connection": "close"}
    connection.request("POST", destination.path, body=body, headers={**headers, **own})
    with connection.getresponse() as answer:
        return Answer(answer.status, _retry_after(answer.headers.get("Retry-After")))


def _authority(destination: Destination) -> str:
    host = f"[{destination.host}]" if ":" in destination.host else destination.host
    return host if destination.port == WEB.get(destination.scheme) else f"{host}:{destination.port}"


def dial(destination: Destination, *, until: float) -> socket.socket:
    """Connect to one of the destination's addresses, with TLS where its scheme says https; raises Failed."""
    link = connect(destination, until=until)
    return secure(link, destination.host, until=until) if destination.scheme == "https" else link


def secure(link: socket.socket, host: str, *, until: float) -> ssl.SSLSocket:
    """Begin TLS on a connection and check that the certificate is for `host`; raises Failed, the connection closed."""
    shielded = trust().wrap_socket(link, server_hostname=host, do_handshake_on_connect=False)
    try:
        with hanging_up(shielded, until=until):
            shielded.do_handshake()
    except (OSError, ValueError) as error:
        shielded.close()
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else "TLS failed"
        raise Failed(f"no connection: {reason}", may_have_arrived=False) from None
    return shielded


def connect(destination: Destination, *, until: float) -> socket.socket:
    """Connect to the first address that answers; raises Failed when none does by `until` (monotonic seconds)."""
    reason = "no address"
    for address in destination.addresses:
        left = until - time.monotonic()
        if left <= 0:
            break
        try:
            return _open(address, destination.port, timeout_seconds=min(left, CONNECT_SECONDS))
        except OSError as error:
            reason = error.strerror or "no answer in time"
    raise Failed(f"no connection: {reason}", may_have_arrived=False)


def _open(address: str, port: int, *, timeout_seconds: float) -> socket.socket:
    """Connect to an address as it is: no name is looked up any more."""
    link = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
    try:
        link.settimeout(timeout_seconds)
        link.connect((address, port))
    except BaseException:
        link.close()
        raise
    return link


@contextmanager
def hanging_up(link: socket.socket, *, until: float) -> Iterator[None]:
    """Cut the connection off when the block is not through by `until`, however slowly the other side drips.

    Raises Failed at once when that time has passed already: a process that was stopped for a while sends nothing late.
    """
    left = until - time.monotonic()
    if left <= 0:
        raise Failed("no time left", may_have_arrived=False)
    link.settimeout(left)
    clock = threading.Timer(left, _cut, args=(link,))
    clock.daemon = True
    clock.start()
    try:
        yield
    finally:
        clock.cancel()


def _cut(link: socket.socket) -> None:
    with suppress(OSError):
        link.shutdown(socket.SHUT_RDWR)


@lru_cache(maxsize=1)
def trust() -> ssl.SSLContext:
    """Return whom TLS trusts: the system's authorities, or those of SSL_CERT_FILE."""
    return ssl.create_default_context()


def _retry_after(text: str | None) -> float | None:
    """Return the seconds of a Retry-After, which is a number of them or a date (RFC 9110 §10.2.3)."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:9])
    try:
        moment = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
