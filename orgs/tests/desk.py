"""What the tests of the console's pages share: what a submitted form leaves behind, and what the next page says."""

from typing import Any

from django.contrib.messages import get_messages
from django.http import HttpResponse

from orgs.models import AuditEntry, Event

PASSWORD = "correct horse battery staple"


def one_audit_row() -> AuditEntry:
    """Return the only audit row; Root made it, from this machine."""
    assert AuditEntry.objects.count() == 1
    row = AuditEntry.objects.get()
    assert row.actor == "root"
    assert row.remote_address == "127.0.0.1"
    return row


def forget() -> None:
    """Clear what was left so far."""
    AuditEntry.objects.all().delete()
    Event.objects.all().delete()


def said(answer: Any) -> str:
    """Return what the answer to a submitted form tells on the next page."""
    assert isinstance(answer, HttpResponse)
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))  # type: ignore[attr-defined]


def told() -> list[tuple[str, str]]:
    """Return (organization, user) of the `user.changed` events, which sockets react to."""
    rows = Event.objects.filter(kind="user.changed").order_by("id")
    return [(row.organization_id, row.data["username"]) for row in rows]
