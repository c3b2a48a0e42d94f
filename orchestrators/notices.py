"""Notices: what events of any process mean for the sessions of this one, with the rows they speak of already read."""

import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from django.db import DatabaseError, InterfaceError

from orchestrators import configuration, protocol
from orchestrators.models import Instance
from orchestrators.protocol import FrameError
from orgs import events
from orgs.models import Event

if TYPE_CHECKING:
    from orchestrators.hub import Hub
    from orchestrators.session import Session


class Notice:
    """Something for the hub to do on its event loop."""

    def apply(self, hub: "Hub") -> None:
        """Do it; sessions that are gone meanwhile are passed over."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Independence(Notice):
    """The flags of one orchestrator, as committed."""

    orchestrator_id: str
    is_own: bool
    is_organization: bool

    def apply(self, hub: "Hub") -> None:
        """Flip the session's flags: from now on nothing of it moves, or it has a full TTL to send a heartbeat."""
        session = hub.sessions.get(self.orchestrator_id)
        if session is None:
            return
        was = session.is_independent
        session.is_own_independent, session.is_organization_independent = self.is_own, self.is_organization
        if was != session.is_independent:
            session.last_log = 0.0
            session.seen = time.monotonic()
            hub.dirty.pop(session.instance_pk, None)


@dataclass(frozen=True, slots=True)
class Superseded(Notice):
    """An orchestrator registered somewhere else, later than the session held here."""

    orchestrator_id: str
    epoch: int

    def apply(self, hub: "Hub") -> None:
        """Close the older session."""
        session = hub.sessions.get(self.orchestrator_id)
        if session is not None and session.epoch < self.epoch:
            hub.supersede(session)


@dataclass(frozen=True, slots=True)
class Closing(Notice):
    """Sessions that must end: by orchestrator, organization or credential (the one that is not empty)."""

    code: int
    error: str
    detail: str
    orchestrator_id: str = ""
    organization_id: str = ""
    credential_id: str = ""

    def apply(self, hub: "Hub") -> None:
        """Tell them and close them."""
        for session in list(hub.sessions.values()):
            if (
                (self.orchestrator_id and session.orchestrator_id == self.orchestrator_id)
                or (self.organization_id and session.organization_id == self.organization_id)
                or (self.credential_id and session.credential_id == self.credential_id)
            ):
                session.spawn(session.close(self.code, FrameError(self.error, self.detail)))


@dataclass(frozen=True, slots=True)
class Delivery(Notice):
    """Messages wait for an orchestrator."""

    orchestrator_id: str

    def apply(self, hub: "Hub") -> None:
        """Send them."""
        hub.deliver_soon(self.orchestrator_id)


@dataclass(frozen=True, slots=True)
class Offer(Notice):
    """Tasks of an organization may be taken."""

    organization_id: str

    def apply(self, hub: "Hub") -> None:
        """Give them to who can do them."""
        hub.dispatch.look_soon(self.organization_id)


@dataclass(frozen=True, slots=True)
class Withdrawal(Notice):
    """A task is no longer an orchestrator's: it is over, or somebody else may take it."""

    organization_id: str
    orchestrator_id: str
    task_id: str
    lease: int
    is_over: bool

    def apply(self, hub: "Hub") -> None:
        """Take it off the session's hands."""
        session = hub.sessions.get(self.orchestrator_id)
        if session is not None and session.organization_id == self.organization_id:
            hub.dispatch.withdraw(session, self.task_id, self.lease, is_over=self.is_over)


@dataclass(frozen=True, slots=True)
class Config(Notice):
    """A desired configuration: `body` is what both frames it may travel in have in common, put together when sent."""

    orchestrator_id: str
    version: int
    body: configuration.Body
    is_repeat: bool = False

    def apply(self, hub: "Hub") -> None:
        """Push it, unless something newer was pushed already; one that is repeated, unless it is no longer newest."""
        session = hub.sessions.get(self.orchestrator_id)
        if session is not None and (
            session.config_version < self.version or (self.is_repeat and session.config_version == self.version)
        ):
            session.config_version = self.version
            session.expect_config_status(is_repeat=self.is_repeat)
            is_update = session.is_acknowledging
            session.spawn(self._send(session, is_update=is_update))

    async def _send(self, session: "Session", *, is_update: bool) -> None:
        await session.write(configuration.head(self.version, is_update=is_update) + self.body.text())


@dataclass(frozen=True, slots=True)
class Dark(Notice):
    """The sweep declared an orchestrator inactive whose socket is open here: its next heartbeat revives it."""

    orchestrator_id: str

    def apply(self, hub: "Hub") -> None:
        """Remember that the row needs reviving."""
        session = hub.sessions.get(self.orchestrator_id)
        if session is not None:
            session.is_dark = True


@dataclass(frozen=True, slots=True)
class Registered(Notice):
    """The registry has a new row, which the mirror files have to show."""

    def apply(self, hub: "Hub") -> None:
        """Have them written with the next tick: a thousand registrations are one file."""
        hub.clock.is_mirror_due = True


def read(cursor: events.Cursor, *, held: Callable[[], Collection[str]], node_id: str) -> list[Notice]:
    """Read the new events and what they mean for the orchestrators `held` returns.

    It is asked after the read: a session that was open before an event was committed is among them. When the database
    fails on the way, the events are read again the next time.
    """
    place = cursor.place()
    try:
        rows = cursor.read()
        return _meaning(rows, held=set(held()) if rows else set(), node_id=node_id)
    except (DatabaseError, InterfaceError):
        cursor.go_back(place)
        raise


def _meaning(rows: Sequence[Event], *, held: set[str], node_id: str) -> list[Notice]:
    found: list[Notice] = []
    flags: set[str] = set()
    organizations: set[str] = set()
    changed: set[str] = set()
    offered: set[str] = set()
    for row in rows:
        if row.kind == "independence.changed":
            (flags if row.orchestrator_id else organizations).add(row.orchestrator_id or row.organization_id)
        elif row.kind == "config.changed":
            changed.add(row.orchestrator_id)
        elif row.kind in ("orchestrator.registered", "orchestrator.created", "organization.created"):
            found.append(Registered())
        elif row.kind.startswith("task."):
            if row.data.get("status") == "assigned":
                offered.add(row.organization_id)
            if row.orchestrator_id in held:
                found += _withdrawals(row)
        elif row.orchestrator_id in held or not row.orchestrator_id:
            found += _plain(row, node_id)
    found += [Offer(organization_id) for organization_id in sorted(offered)]
    found += _flags(flags & held, organizations)
    found += configs(changed & held)
    return found


def _plain(row: Event, node_id: str) -> list[Notice]:
    match row.kind:
        case "orchestrator.connected" if row.data["node"] != node_id:
            return [Superseded(row.orchestrator_id, row.data["epoch"])]
        case "orchestrator.inactive":
            return [Dark(row.orchestrator_id)]
        case "orchestrator.deleted":
            return [_deleted(row.orchestrator_id)]
        case "message.queued":
            return [Delivery(row.orchestrator_id)]
        case "organization.suspended":
            detail = "The organization is suspended."
            return [Closing(protocol.FORBIDDEN, "organization_suspended", detail, organization_id=row.organization_id)]
        case "organization.deleted":
            detail = "This organization is not known here any more."
            return [Closing(protocol.FORBIDDEN, "unknown_orchestrator", detail, organization_id=row.organization_id)]
        case "api_key.revoked":
            detail = "The key was revoked; register with another one."
            return [Closing(protocol.UNAUTHENTICATED, "unauthenticated", detail, credential_id=row.data["key_id"])]
    return []


def _withdrawals(row: Event) -> list[Notice]:
    """Return what the event of a task means for the one who took it last."""
    status, task_id, lease = row.data.get("status"), row.data.get("task_id"), row.data.get("lease")
    if status == "in_progress" or type(task_id) is not str or type(lease) is not int:
        return []
    return [Withdrawal(row.organization_id, row.orchestrator_id, task_id, lease, is_over=status != "assigned")]


def _deleted(orchestrator_id: str) -> Closing:
    detail = "This orchestrator is not known here any more."
    return Closing(protocol.FORBIDDEN, "unknown_orchestrator", detail, orchestrator_id=orchestrator_id)


def _flags(ids: Collection[str], organizations: Collection[str]) -> list[Notice]:
    if not ids and not organizations:
        return []
    rows = Instance.objects.filter(orchestrator_id__in=ids) | Instance.objects.filter(organization_id__in=organizations)
    columns = rows.values_list("orchestrator_id", "is_independent", "organization__is_independent")
    return [Independence(*row) for row in columns]


def configs(ids: Collection[str], *, is_repeat: bool = False) -> list[Notice]:
    """Return what `ids` should run now; `is_repeat` sends it again to a session that was given just that."""
    rows = configuration.readable(list(ids)) if ids else []
    pairs = zip(rows, configuration.bodies(rows), strict=True)
    return [Config(row.orchestrator_id, row.config_version, body, is_repeat) for row, body in pairs]


def explain(sessions: Sequence[tuple[str, int]]) -> list[Notice]:
    """Say why rows of these (orchestrator id, epoch) sessions did not move: deleted, superseded or independent."""
    rows = {
        row[0]: row
        for row in Instance.objects.filter(orchestrator_id__in=[key for key, _ in sessions]).values_list(
            "orchestrator_id", "epoch", "deleted_at", "is_independent", "organization__is_independent"
        )
    }
    found: list[Notice] = []
    for orchestrator_id, epoch in sessions:
        row = rows.get(orchestrator_id)
        if row is None or row[2] is not None:
            found.append(_deleted(orchestrator_id))
        elif row[1] > epoch:
            found.append(Superseded(orchestrator_id, row[1]))
        elif row[3] or row[4]:
            found.append(Independence(orchestrator_id, row[3], row[4]))
    return found
