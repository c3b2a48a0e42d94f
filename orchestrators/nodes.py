"""Nodes: which processes hold sockets, and clearing up after those that were killed."""

import os
import secrets
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import psutil
from django.db import transaction
from django.utils import timezone

from orchestrators.models import Instance, Node
from orgs import events
from orgs.models import Event

BEAT_SECONDS: Final = 5
DEAD_AFTER_SECONDS: Final = 25  # more than an outage that the sweep does not notice (presence.LATE_SECONDS) and a beat
HOSTNAME: Final = socket.gethostname()[:80]


def process() -> str:
    """Return how leases and labels name this process: host and pid."""
    return f"{HOSTNAME}:{os.getpid()}"


def new_id() -> str:
    """Return a node id that no earlier process of this host had: host, pid and a random part."""
    return f"{process()}:{secrets.token_hex(3)}"


def start(node_id: str) -> None:
    """Announce this process, and clear what killed processes of this host left open."""
    now = timezone.now()
    row = {"hostname": HOSTNAME, "pid": os.getpid(), "started_at": now, "beat_at": now}
    Node.objects.update_or_create(node_id=node_id, defaults=row)
    events.record("process.started", data={"node": node_id})
    killed = [
        node.node_id
        for node in Node.objects.filter(hostname=HOSTNAME).exclude(node_id=node_id)
        if not _is_running(node, now=now)
    ]
    _bury(killed, now=now)


def _is_running(node: Node, *, now: datetime) -> bool:
    if node.pid == os.getpid() or node.beat_at < now - timedelta(seconds=DEAD_AFTER_SECONDS):
        return False
    try:
        return psutil.Process(node.pid).create_time() <= node.started_at.timestamp() + 1
    except psutil.Error:
        return False


def beat(node_id: str, *, sessions: int, heartbeats: Sequence[tuple[int, int]]) -> bool:
    """Say that this process is alive, how many sessions it holds and its heartbeats in 5 s buckets.

    Returns False when the process had been given up meanwhile: then its sessions have to be claimed again.
    """
    now = timezone.now()
    changed = {"beat_at": now, "sessions": sessions, "heartbeats": [list(pair) for pair in heartbeats]}
    if Node.objects.filter(node_id=node_id).update(**changed):
        return True
    row = changed | {"hostname": HOSTNAME, "pid": os.getpid(), "started_at": now}
    Node.objects.update_or_create(node_id=node_id, defaults=row)
    return False


@dataclass(frozen=True, slots=True)
class Held:
    """A session that is open in this process."""

    instance_pk: int
    epoch: int
    session_id: str
    connected_at: datetime
    remote_address: str


def claim_again(node_id: str, sessions: Sequence[Held]) -> int:
    """Mark sessions of this process as open that were cleared while the database did not hear of it.

    A row that a newer session took over is left alone. Returns how many were claimed.
    """
    claimed: list[int] = []
    for held in sessions:
        cleared = Instance.objects.present().filter(pk=held.instance_pk, epoch=held.epoch, is_connected=False)
        columns = {"session_id": held.session_id, "node": node_id, "connected_at": held.connected_at}
        if cleared.update(is_connected=True, remote_address=held.remote_address, **columns):
            claimed.append(held.instance_pk)
    rows = Instance.objects.filter(pk__in=claimed)
    events.record_many(
        Event(
            kind="orchestrator.connected",
            organization_id=row.organization_id,
            orchestrator_id=row.orchestrator_id,
            data={"session_id": row.session_id, "epoch": row.epoch, "node": node_id, "version": row.version},
        )
        for row in rows
    )
    return len(claimed)


def alive(names: Collection[str], *, now: datetime) -> set[str]:
    """Return those of `names` whose beat is fresh."""
    fresh = Node.objects.filter(node_id__in=names, beat_at__gte=now - timedelta(seconds=DEAD_AFTER_SECONDS))
    return set(fresh.values_list("node_id", flat=True))


def clear_dead(*, now: datetime) -> int:
    """Clear the sessions of every node whose beat stopped or that is not known; return how many sessions that were."""
    dead = Node.objects.filter(beat_at__lt=now - timedelta(seconds=DEAD_AFTER_SECONDS))
    unknown = Instance.objects.filter(is_connected=True).exclude(node__in=Node.objects.values("node_id"))
    cleared = _bury(sorted(dead.values_list("node_id", flat=True)), now=now)
    return cleared + clear(sorted(unknown.order_by().values_list("node", flat=True).distinct()), now=now)


def _bury(names: Sequence[str], *, now: datetime) -> int:
    """Close the books of nodes that ended without a goodbye, with an event for each; return how many sessions."""
    with transaction.atomic():
        known = list(Node.objects.filter(node_id__in=names).select_for_update().values_list("node_id", flat=True))
        events.record_many(Event(kind="process.crashed", data={"node": name}) for name in known)
        return clear(names, now=now)


@transaction.atomic
def clear(names: Sequence[str], *, now: datetime) -> int:
    """Close the books of the nodes `names`: their sessions are disconnected, and have a fresh deadline to come back."""
    if not names:
        return 0
    open_rows = Instance.objects.filter(is_connected=True, node__in=names).select_for_update().order_by("pk")
    rows = list(open_rows.only("pk", "organization_id", "orchestrator_id", "session_id", "status"))
    ids = [row.pk for row in rows]
    grace = Instance.deadline_after(now)
    for start_at in range(0, len(ids), 500):
        chunk = Instance.objects.filter(pk__in=ids[start_at : start_at + 500])
        chunk.exclude(status=Instance.Status.INDEPENDENT).update(deadline_at=grace)
        chunk.update(is_connected=False, session_id="", node="", connected_at=None)
    events.record_many(
        Event(
            kind="orchestrator.disconnected",
            organization_id=row.organization_id,
            orchestrator_id=row.orchestrator_id,
            data={"session_id": row.session_id, "reason": "the controller process ended"},
        )
        for row in rows
    )
    Node.objects.filter(node_id__in=names).delete()
    return len(rows)


def report(*, now: datetime) -> dict[str, Any]:
    """Return how many sessions are open, and every process that holds some: its last beat and how many it holds."""
    rows = [
        {
            "node": row.node_id,
            "hostname": row.hostname,
            "pid": row.pid,
            "started_at": row.started_at,
            "beat_age_seconds": round(max(0.0, (now - row.beat_at).total_seconds()), 1),
            "is_alive": row.beat_at >= now - timedelta(seconds=DEAD_AFTER_SECONDS),
            "sessions": row.sessions,
        }
        for row in Node.objects.order_by("node_id")
    ]
    return {"sessions": Instance.objects.connected().count(), "nodes": rows}
