"""Desired configuration: what each orchestrator should run, as rows, and as the frames it travels in.

A row's `config_version` only grows, and its `config_hash` is that of the content it goes with. Whoever changes what an
instance should run holds its row's lock and calls `republish`, which reads the base after the lock: so of two changes
at once the later one always has both, and an older content never gets a newer number.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from orchestrators import protocol
from orchestrators.configuration import versions
from orchestrators.configuration.documents import digest
from orchestrators.models import ConfigVersion, Instance, Rollout
from orgs import events
from orgs.models import Event, Organization

CHUNK: Final = 1000  # rows per statement; 2 parameters each
_REPUBLISH: Final = """
UPDATE orchestrator_instances
SET config_version = config_version + CASE WHEN config_hash = '' THEN 0 ELSE 1 END, config_hash = wanted.column2,
  config_status = CASE WHEN is_acknowledging THEN 'pending' ELSE 'unknown' END, config_error = '', updated_at = %s,
  config_lost_at = NULL, config_rollout_id = COALESCE(%s, config_rollout_id)
FROM (VALUES {rows}) AS wanted
WHERE orchestrator_instances.id = wanted.column1
"""


def attach(instances: Sequence[Instance], *, organizations: Mapping[str, Organization] | None = None) -> None:
    """Read the bases of `instances` as they are committed now: two statements, however many rows.

    `organizations` are those that the caller has read, and holds the locks of.
    """
    if organizations is None:
        organizations = Organization.objects.in_bulk({row.organization_id for row in instances})
    versions = ConfigVersion.objects.in_bulk({row.config_base_id for row in instances if row.config_base_id})
    for row in instances:
        row.organization = organizations[row.organization_id]
        if row.config_base_id:
            row.config_base = versions.get(row.config_base_id)


def refresh(instance: Instance) -> bool:
    """Bring `config_hash` and `config_version` of an unsaved `instance` up to its content; True when that changed."""
    desired = digest(instance.config_document())
    if desired == instance.config_hash:
        return False
    instance.config_version += 1 if instance.config_hash else 0
    instance.config_hash = desired
    return True


@transaction.atomic
def republish(instances: Sequence[Instance], *, rollout: Rollout | None = None) -> int:
    """Store new versions of those locked `instances` whose desired configuration changed, and wake their sessions up.

    They become members of `rollout`, when it is one that changes them. Returns how many changed.
    """
    attach(instances)
    changed = [instance for instance in instances if refresh(instance)]
    if not changed:
        return 0
    now = timezone.now()
    for instance in changed:
        is_answered = instance.is_acknowledging
        instance.config_status = Instance.ConfigStatus.PENDING if is_answered else Instance.ConfigStatus.UNKNOWN
        instance.config_error, instance.config_lost_at, instance.updated_at = "", None, now
        instance.config_rollout_id = rollout.pk if rollout else instance.config_rollout_id
    _write(changed, rollout, now=now)
    followed = versions.followed(changed)
    events.record_many(
        Event(
            kind="config.changed",
            organization_id=instance.organization_id,
            orchestrator_id=instance.orchestrator_id,
            data={"version": instance.config_version, "organization_version": followed[instance.pk]},
        )
        for instance in changed
    )
    return len(changed)


def _write(changed: Sequence[Instance], rollout: Rollout | None, *, now: datetime) -> None:
    moment = connection.ops.adapt_datetimefield_value(now)
    with connection.cursor() as cursor:
        for start in range(0, len(changed), CHUNK):
            chunk = changed[start : start + CHUNK]
            values: list[Any] = [moment, rollout.pk if rollout else None]
            for instance in chunk:
                values += [instance.pk, instance.config_hash]
            cursor.execute(_REPUBLISH.format(rows=",".join(["(%s, %s)"] * len(chunk))), values)


def frame(instance: Instance, *, is_update: bool) -> str:
    """Build the `config_update` (or, for a fresh or older session, `provisioning`) frame of the desired state."""
    return head(instance.config_version, is_update=is_update) + bodies([instance])[0].text()


def head(version: int, *, is_update: bool) -> str:
    """Return how a frame begins; a `Body` is the rest."""
    if is_update:
        return f'{{"type":"config_update","message_id":"config-{version}",'
    return '{"type":"provisioning",'


@dataclass(frozen=True, slots=True)
class Body:
    """What both kinds of frame have in common, in pieces: a fleet shares its long one until each frame is written."""

    version: int
    config_hash: str
    own: str
    shared: str

    def text(self) -> str:
        """Return it as it is sent, without the brace that opens the frame."""
        document = f'{{"metadata":{self.own},{self.shared}'
        return f'"version":{self.version},"config_hash":"{self.config_hash}","config":{document},"data":{document}}}'


def bodies(instances: Sequence[Instance]) -> list[Body]:
    """Return the bodies of desired configurations; those that differ in `metadata` alone have one text in common."""
    texts: dict[tuple[Any, ...], str] = {}
    found: list[Body] = []
    for row in instances:
        document = row.config_document()
        own = protocol.dump(document.pop("metadata"))
        overrides = (protocol.dump(row.features), protocol.dump(row.session_config))
        switches = (row.privacy_mode, row.monitoring_enabled)
        # A row that was read again (`readable`) may start from a newer base than its neighbours.
        base = (row.organization_id, row.organization.updated_at, row.config_base_id)
        key = (*base, *overrides, *switches)
        if key not in texts:
            texts[key] = protocol.dump(document)[1:]
        found.append(Body(row.config_version, row.config_hash, own, texts[key]))
    return found


def readable(orchestrator_ids: Sequence[str]) -> list[Instance]:
    """Return rows with their bases, each as one commit left both.

    Bases are read once for all, after the rows. Where a commit fell between, the content has not the hash that the row
    names, and such rows are read again together with their bases.
    """
    rows = list(Instance.objects.filter(orchestrator_id__in=orchestrator_ids))
    attach(rows)
    fitting = [row for row in rows if digest(row.config_document()) == row.config_hash]
    if len(fitting) == len(rows):
        return rows
    others = {row.pk for row in rows} - {row.pk for row in fitting}
    return fitting + list(Instance.objects.filter(pk__in=others).select_related("organization", "config_base"))


@dataclass(frozen=True, slots=True)
class Standing:
    """The desired version of a connected orchestrator, and whether that waits for a first answer."""

    orchestrator_id: str
    version: int
    is_unanswered: bool


def standings(node_id: str, *, among: Collection[int]) -> list[Standing]:
    """Return how those connected to `node_id` stand that have said nothing yet, and the instances `among`: one query.

    An orchestrator may be there twice.
    """
    here = Instance.objects.connected().filter(node=node_id).order_by()
    columns = ("orchestrator_id", "config_version", "config_status", "is_acknowledging")
    silent = here.filter(is_acknowledging=True, config_status=Instance.ConfigStatus.PENDING).values_list(*columns)
    rows = silent.union(here.filter(pk__in=among).values_list(*columns), all=True) if among else silent
    return [
        Standing(name, version, is_answering and status == Instance.ConfigStatus.PENDING)
        for name, version, status, is_answering in rows
    ]
