"""Configuration: what each orchestrator should run (desired), what it says it runs (reported), and how that went."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from django.db import transaction
from django.utils import timezone

from orchestrators import protocol
from orchestrators.models import Instance
from orchestrators.protocol import FrameError
from orgs import events
from orgs.models import Event

MAX_ERROR: Final = 1000


def digest(document: dict[str, Any]) -> str:
    """Return the hash clients return to us; the same content gives the same hash whatever its key order."""
    return "sha256:" + hashlib.sha256(protocol.encode(document, option=orjson.OPT_SORT_KEYS)).hexdigest()


def refresh(instance: Instance) -> bool:
    """Bring `config_hash` and `config_version` of an unsaved `instance` up to its content; True when that changed."""
    desired = digest(instance.config_document())
    if desired == instance.config_hash:
        return False
    instance.config_version += 1 if instance.config_hash else 0
    instance.config_hash = desired
    return True


def frame(instance: Instance, *, is_update: bool) -> str:
    """Build the `config_update` (or, for a fresh or older session, `provisioning`) frame of the desired state."""
    document = instance.config_document()
    body = {
        "version": instance.config_version,
        "config_hash": instance.config_hash,
        "config": document,
        "data": document,
    }
    if is_update:
        return protocol.dump({"type": "config_update", "message_id": f"config-{instance.config_version}"} | body)
    return protocol.dump({"type": "provisioning"} | body)


@transaction.atomic
def republish(instances: Sequence[Instance]) -> int:
    """Store new versions of those `instances` whose desired configuration changed, and wake their sessions up.

    Returns how many changed.
    """
    changed = [instance for instance in instances if refresh(instance)]
    for instance in changed:
        is_answered = instance.is_acknowledging
        instance.config_status = Instance.ConfigStatus.PENDING if is_answered else Instance.ConfigStatus.UNKNOWN
        instance.config_error = ""
        instance.updated_at = timezone.now()
    columns = ["config_version", "config_hash", "config_status", "config_error", "updated_at"]
    Instance.objects.bulk_update(changed, columns, batch_size=200)
    events.record_many(
        Event(
            kind="config.changed",
            organization_id=instance.organization_id,
            orchestrator_id=instance.orchestrator_id,
            data={"version": instance.config_version},
        )
        for instance in changed
    )
    return len(changed)


@dataclass(frozen=True, slots=True)
class Report:
    """A validated `config_status` frame."""

    instance_pk: int
    orchestrator_id: str
    organization_id: str
    config_hash: str
    status: str
    error: str


def check(session: Any, frame_: dict[str, Any]) -> Report:
    """Validate a `config_status` frame (PROTOCOL §1)."""
    status = frame_.get("status")
    if status not in ("applying", "applied", "failed"):
        raise FrameError("invalid_field", "status must be applying, applied or failed.", path="status")
    return Report(
        session.instance_pk,
        session.orchestrator_id,
        session.organization_id,
        protocol.text_field(frame_, "config_hash", limit=200),
        status,
        protocol.text_field(frame_, "error", limit=MAX_ERROR),
    )


@transaction.atomic
def store(reports: Sequence[Report]) -> list[None]:
    """Store what the sessions reported, newest report per orchestrator last."""
    now = timezone.now()
    for report in reports:
        changed = {
            "config_reported_hash": report.config_hash,
            "config_status": report.status,
            "config_error": report.error,
            "config_reported_at": now,
        }
        # A late report on an older configuration must not cover the state of the newer one.
        matched = Instance.objects.filter(pk=report.instance_pk, config_hash=report.config_hash).update(**changed)
        if matched:
            data = {"status": report.status, "error": report.error}
            events.record(
                f"config.{report.status}",
                organization_id=report.organization_id,
                orchestrator_id=report.orchestrator_id,
                data=data,
            )
    return [None] * len(reports)
