"""E-mail over SMTP: through the installation's server (EMAIL_URL), or through the channel's own.

The channel's own server is somebody's address and is checked like one; passwords travel over TLS only. Headers are
built by Django's EmailMessage, which refuses line breaks in them.
"""

import hashlib
import smtplib
import socket
import ssl
import time
from contextlib import suppress
from typing import Any, Final

from django.core import mail
from django.core.mail import EmailMessage

from monitoring.alerts import notices
from monitoring.alerts.senders.letters import Later, Letter, Refused
from orgs import destinations, outgoing
from orgs.destinations import Destination, NotAllowed, Unresolved

SCHEMES: Final = {"smtp": 587, "smtps": 465}
PORTS: Final = frozenset({25, 465, 587, 2525})
SUBJECT_LENGTH: Final = 200
DOMAIN: Final = "alerts.moolai"  # of message ids only


def send(letter: Letter) -> None:
    """Send one mail to all recipients; raises Refused or Later."""
    try:
        if letter.url:
            _send_through(_own_server(letter), letter)
        else:
            _send_through_installation(letter)
    except NotAllowed as problem:
        raise Refused(f"{problem.code}: {problem.detail}") from None
    except (Unresolved, outgoing.Failed) as problem:
        raise Later(str(problem), may_have_arrived=getattr(problem, "may_have_arrived", False)) from None
    except smtplib.SMTPException as problem:
        raise _judged(problem) from None
    except OSError as problem:
        is_late = time.monotonic() >= letter.until
        reason = "no answer in time" if is_late else f"no answer: {type(problem).__name__}"
        raise Later(reason, may_have_arrived=True) from None


def message(letter: Letter) -> EmailMessage:
    """Return the mail; those of one dedup key are one thread."""
    notice = letter.notice
    subject = f"[{notice['severity']}] {notices.word(notice, action=letter.action)}: {notice['title']}"
    thread = f"<{hashlib.sha256(letter.dedup_key.encode()).hexdigest()[:32]}@{DOMAIN}>"
    return EmailMessage(
        subject=_flat(subject)[:SUBJECT_LENGTH],
        body=notices.text(notice, action=letter.action),
        from_email=str(letter.settings.get("sender") or "") or None,
        to=list(letter.settings["recipients"]),
        headers={
            "Message-ID": f"<{letter.delivery_id}@{DOMAIN}>",
            "References": thread,
            "X-Moolai-Dedup-Key": _flat(letter.dedup_key).encode("ascii", "replace").decode(),
            "X-Moolai-Event": f"{notices.subject(notice)}.{letter.action}",
            "Auto-Submitted": "auto-generated",
        },
    )


def _flat(text: str) -> str:
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _send_through_installation(letter: Letter) -> None:
    if letter.until <= time.monotonic():
        raise Later("no time left")
    with mail.get_connection() as connection:  # EMAIL_TIMEOUT holds for each step
        connection.send_messages([message(letter)])


def _own_server(letter: Letter) -> Destination:
    return destinations.resolve(letter.url, allowed_networks=letter.allowed_networks, ports=PORTS, schemes=SCHEMES)


def _send_through(destination: Destination, letter: Letter) -> None:
    link = outgoing.connect(destination, until=letter.until)
    if destination.scheme == "smtps":
        link = outgoing.secure(link, destination.host, until=letter.until)
    session = None
    try:
        with outgoing.hanging_up(link, until=letter.until):
            session = _greeted(link, destination)
        assert session.sock is not None
        with outgoing.hanging_up(session.sock, until=letter.until):
            _hand_over(session, letter)
    finally:
        link.close()
        if session is not None:
            session.close()


def _greeted(link: socket.socket, destination: Destination) -> "Session":
    session = Session(link, destination.host)
    session.ehlo()
    if destination.scheme == "smtp" and session.has_extn("starttls"):
        session.starttls(context=outgoing.trust())
        session.ehlo()
    return session


def _hand_over(session: "Session", letter: Letter) -> None:
    if letter.secret:
        if not isinstance(session.sock, ssl.SSLSocket):
            raise Refused("the server offers no TLS, and the password is not sent without")
        session.login(str(letter.settings.get("username", "")), letter.secret)
    written = message(letter)
    text: Any = written.message()
    session.sendmail(written.from_email, written.recipients(), text.as_bytes(linesep="\r\n"))
    with suppress(smtplib.SMTPException, OSError):
        session.quit()


class Session(smtplib.SMTP):
    """SMTP over a connection that is there already: to the address that was checked, under the server's name."""

    def __init__(self, link: socket.socket, host: str) -> None:
        """Take the connection and read the greeting; raises SMTPConnectError."""
        super().__init__(local_hostname="moolai", timeout=link.gettimeout() or 1)
        self._host, self.sock = host, link
        code, words = self.getreply()
        if code != 220:
            raise smtplib.SMTPConnectError(code, words)


def _judged(problem: smtplib.SMTPException) -> Exception:
    """Return what an SMTP error means: 5xx is for good, everything else passes (RFC 5321 §4.2.1)."""
    code: Any = getattr(problem, "smtp_code", 0)
    if isinstance(problem, smtplib.SMTPRecipientsRefused):
        code = min((reply[0] for reply in problem.recipients.values()), default=0)
    reason = f"answered {code}" if isinstance(code, int) and code > 0 else "the conversation broke off"
    if isinstance(code, int) and 500 <= code < 600:
        return Refused(reason)
    return Later(reason, may_have_arrived=isinstance(problem, smtplib.SMTPServerDisconnected))
