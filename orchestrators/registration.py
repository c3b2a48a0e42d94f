"""Registration: decide who may open which session, and write the sessions of a whole batch in few statements."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.crypto import constant_time_compare

from orchestrators import configuration, mirror, nodes
from orchestrators.claims import Claim
from orchestrators.models import Instance
from orchestrators.protocol import FORBIDDEN, OVERLOAD, UNAUTHENTICATED, FrameError
from orgs import audit, counters, events, keys
from orgs.models import ApiKey, Event, Organization

MAX_TAKEOVERS_PER_MINUTE: Final = 2
SESSION_FIELDS: Final = [
    "name", "organization_name", "version", "capabilities", "metadata", "is_connected", "session_id", "epoch", "node",
    "connected_at", "remote_address", "credential_id", "takeovers", "status", "last_seen", "last_activity",
    "deadline_at", "is_acknowledging",
    "config_version", "config_hash", "config_reported_hash", "config_status", "config_error",
    "config_lost_at", "updated_at",
]  # fmt: skip


@dataclass(slots=True)
class Grant:
    """A session that was opened: the row as written, and what the socket needs to know beyond it."""

    instance: Instance
    is_own_independent: bool
    is_organization_independent: bool
    expires_at: datetime | None
    provisioning: str | None
    running_tasks: frozenset[str] | None = None


def register(claims: Sequence[Claim]) -> list[Grant | FrameError]:
    """Open a session for each claim, or say why not; one transaction, a constant number of statements."""
    seen: set[str] = set()
    for index, item in enumerate(claims):
        if item.orchestrator_id in seen:  # two sockets for one id: the later one has to see the earlier one's row
            return register(claims[:index]) + register(claims[index:])
        seen.add(item.orchestrator_id)
    try:
        return _register(claims)
    except IntegrityError:  # another process made one of the instances at the same moment: it exists now
        return _register(claims)


@dataclass(slots=True)
class _World:
    """What the database says about a batch of claims."""

    now: datetime
    credentials: dict[str, keys.Credential]
    organizations: dict[str, Organization]
    instances: dict[str, Instance]
    bound: set[str]
    live_nodes: set[str]
    rows: list[Event] = field(default_factory=list)


@transaction.atomic
def _register(claims: Sequence[Claim]) -> list[Grant | FrameError]:
    world = _look(claims)
    answers: list[Grant | FrameError] = []
    for item in claims:
        try:
            answers.append(_open(item, world))
        except FrameError as problem:
            _note_refusal(item, problem, world)
            answers.append(problem)
    grants = [answer for answer in answers if isinstance(answer, Grant)]
    _write([grant.instance for grant in grants])
    events.record_many(world.rows)
    return answers


def _look(claims: Sequence[Claim]) -> _World:
    now = timezone.now()
    ids = {item.orchestrator_id for item in claims}
    credentials = keys.lookup({item.secret for item in claims if item.secret}, now=now)
    homes = dict(Instance.objects.filter(orchestrator_id__in=ids).values_list("orchestrator_id", "organization_id"))
    wanted = {credential.organization_id for credential in credentials.values()} | set(homes.values())
    if settings.ALLOW_ANONYMOUS_REGISTRATION:
        wanted |= {item.organization_id for item in claims} | {settings.DEFAULT_ORGANIZATION_ID}
    # Organizations before instances, both in order of their keys: the order every writer takes these locks in.
    locked = Organization.objects.select_for_update(no_key=True).order_by("pk").in_bulk(wanted)
    rows = Instance.objects.filter(orchestrator_id__in=ids).select_for_update(no_key=True).order_by("pk")
    instances = {row.orchestrator_id: row for row in rows}
    configuration.attach(list(instances.values()), organizations=locked)
    bound: set[str] = set()
    if any(not item.secret for item in claims):
        usable = ApiKey.objects.filter(orchestrator_id__in=ids, revoked_at__isnull=True)
        bound = set(usable.values_list("orchestrator_id", flat=True))
    return _World(now, credentials, locked, instances, bound, _live_nodes(instances, now=now))


def _live_nodes(instances: dict[str, Instance], *, now: datetime) -> set[str]:
    names = {row.node for row in instances.values() if row.is_connected}
    return nodes.alive(names, now=now) if names else set()


def _open(item: Claim, world: _World) -> Grant:
    credential, organization = _admit(item, world)
    instance = world.instances.get(item.orchestrator_id) or _make(item, organization)
    instance.organization = organization
    _take_over(item, instance, world)
    _describe(item, instance)
    is_independent = instance.is_effectively_independent
    is_current = _configure(item, instance)
    instance.is_connected, instance.session_id, instance.node = True, item.session_id, item.node
    instance.epoch, instance.connected_at, instance.remote_address = instance.epoch + 1, world.now, item.remote_address
    instance.credential_id = credential.key_id if credential else ""
    if is_independent:
        instance.status = Instance.Status.INDEPENDENT
    else:
        instance.status = Instance.Status.ACTIVE
        instance.last_seen = instance.last_activity = world.now
        instance.deadline_at = Instance.deadline_after(world.now)
    instance.is_acknowledging = not item.is_legacy
    _note_opening(item, instance, world)
    world.instances[item.orchestrator_id] = instance
    return Grant(
        instance,
        instance.is_independent,
        organization.is_independent,
        credential.expires_at if credential else None,
        None if is_current else configuration.frame(instance, is_update=False),
        item.running_tasks,
    )


def _admit(item: Claim, world: _World) -> tuple[keys.Credential | None, Organization]:
    """Return the credential and the organization the claim acts in, or raise the refusal."""
    instance = world.instances.get(item.orchestrator_id)
    if not item.secret:
        return None, _admit_anonymous(item, instance, world)
    credential = world.credentials.get(item.secret)
    if credential is None:
        if settings.DEV_BEARER_TOKEN and constant_time_compare(item.secret, settings.DEV_BEARER_TOKEN):
            raise FrameError("forbidden", "Register with a key of the scope orchestrator.", close=FORBIDDEN)
        detail = "The key is wrong, expired or revoked; send a valid one as Authorization: Bearer."
        raise FrameError("unauthenticated", detail, close=UNAUTHENTICATED)
    if not credential.may_register:
        raise FrameError("forbidden", "This key has not the scope orchestrator.", close=FORBIDDEN)
    elsewhere = item.organization_id not in ("", credential.organization_id)
    is_foreign = instance is not None and instance.organization_id != credential.organization_id
    is_bound_elsewhere = credential.orchestrator_id not in ("", item.orchestrator_id)
    if elsewhere or is_foreign or is_bound_elsewhere:
        raise FrameError("forbidden", "This key is not for that organization or orchestrator.", close=FORBIDDEN)
    if (instance is None and credential.orchestrator_id) or (instance is not None and instance.deleted_at is not None):
        raise FrameError("unknown_orchestrator", "Create the orchestrator in the console first.", close=FORBIDDEN)
    return credential, _require_open(world.organizations.get(credential.organization_id))


def _admit_anonymous(item: Claim, instance: Instance | None, world: _World) -> Organization:
    if not settings.ALLOW_ANONYMOUS_REGISTRATION:
        detail = "Send an API key of the scope orchestrator as Authorization: Bearer or in `token`."
        raise FrameError("unauthenticated", detail, close=UNAUTHENTICATED)
    if instance is not None:
        if instance.deleted_at is not None:
            raise FrameError("unknown_orchestrator", "Create the orchestrator in the console first.", close=FORBIDDEN)
        if item.orchestrator_id in world.bound or (instance.is_connected and instance.credential_id):
            raise FrameError("forbidden", "This orchestrator has a credential; register with it.", close=FORBIDDEN)
        return _require_open(world.organizations.get(instance.organization_id))
    if item.orchestrator_id in world.bound:
        raise FrameError("forbidden", "This orchestrator has a credential; register with it.", close=FORBIDDEN)
    home = world.organizations.get(item.organization_id) or world.organizations.get(settings.DEFAULT_ORGANIZATION_ID)
    if home is None:
        raise FrameError("forbidden", "There is no default organization to register into.", close=FORBIDDEN)
    return _require_open(home)


def _require_open(organization: Organization | None) -> Organization:
    if organization is None:  # deleted since its key was looked up
        raise FrameError("unauthenticated", "The organization of this key is gone.", close=UNAUTHENTICATED)
    if not organization.is_open:
        raise FrameError("organization_suspended", "The organization is suspended.", close=FORBIDDEN)
    return organization


def _make(item: Claim, organization: Organization) -> Instance:
    return Instance(
        orchestrator_id=item.orchestrator_id,
        organization=organization,
        is_independent=mirror.is_wished(item.orchestrator_id),
    )


def _take_over(item: Claim, instance: Instance, world: _World) -> None:
    """Note that an open session is replaced; the third time within a minute is refused."""
    if not instance.is_connected or (instance.node not in world.live_nodes and instance.node != item.node):
        return
    minute_ago = world.now.timestamp() - 60
    recent = [moment for moment in instance.takeovers if moment > minute_ago]
    if len(recent) >= MAX_TAKEOVERS_PER_MINUTE:
        detail = "Two processes use this orchestrator_id; stop one of them."
        raise FrameError("duplicate_instance", detail, close=OVERLOAD, retry_after_ms=60_000)
    instance.takeovers = [*recent, world.now.timestamp()]
    if instance.owes_an_answer:  # its older session is over, too, and nobody else will say so
        instance.config_lost_at = instance.config_lost_at or world.now


def _describe(item: Claim, instance: Instance) -> None:
    if instance.name in ("", item.orchestrator_id):  # a name given in the console stays
        instance.name = item.name or item.orchestrator_id
    instance.organization_name = instance.organization.name
    instance.version, instance.capabilities = item.version or instance.version, list(item.capabilities)
    instance.metadata = item.metadata or instance.metadata


def _configure(item: Claim, instance: Instance) -> bool:
    """Bring what it should run and what it says it runs up to date; True when these are the same."""
    is_changed = configuration.refresh(instance)
    is_current = bool(item.config_hash) and item.config_hash == instance.config_hash
    if is_current or is_changed or not instance.owes_an_answer:
        instance.config_lost_at = None
    instance.config_reported_hash = item.config_hash or instance.config_reported_hash
    instance.config_status = _config_status(item, instance, is_current=is_current, is_changed=is_changed)
    if instance.config_status != Instance.ConfigStatus.FAILED:
        instance.config_error = ""
    return is_current


def _config_status(item: Claim, instance: Instance, *, is_current: bool, is_changed: bool) -> str:
    if is_current:
        return Instance.ConfigStatus.APPLIED
    if item.is_legacy:
        return Instance.ConfigStatus.UNKNOWN
    # What it could not take it could not take: it is sent that once more, and may say otherwise.
    has_failed = instance.config_status == Instance.ConfigStatus.FAILED and not is_changed
    return Instance.ConfigStatus.FAILED if has_failed else Instance.ConfigStatus.PENDING


def _note_opening(item: Claim, instance: Instance, world: _World) -> None:
    common = {"organization_id": instance.organization_id, "orchestrator_id": instance.orchestrator_id}
    if instance._state.adding:
        world.rows.append(Event(kind="orchestrator.registered", data={"version": instance.version}, **common))
    data = {
        "session_id": item.session_id,
        "epoch": instance.epoch,
        "node": item.node,
        "remote_address": item.remote_address,
        "version": instance.version,
    }
    world.rows.append(Event(kind="orchestrator.connected", data=data, **common))


def _note_refusal(item: Claim, problem: FrameError, world: _World) -> None:
    """Leave an audit row where somebody with a good key reached for what is not theirs, or two share one id."""
    credential = world.credentials.get(item.secret)
    if credential is None or problem.code not in ("forbidden", "duplicate_instance"):
        return
    if problem.code == "duplicate_instance":
        counters.add("session.duplicate_instance", f"{credential.organization_id}/{item.orchestrator_id}")
    audit.record(
        f"session.{'duplicate_instance' if problem.code == 'duplicate_instance' else 'refused'}",
        acting_user=None,
        actor=credential.actor,
        organization_id=credential.organization_id,
        target=("orchestrator", item.orchestrator_id),
        after={"remote_address": item.remote_address, "error": problem.code},
    )


def _write(instances: Sequence[Instance]) -> None:
    new = [instance for instance in instances if instance._state.adding]
    known = [instance for instance in instances if not instance._state.adding]
    if new:
        Instance.objects.bulk_create(new)
    if known:
        Instance.objects.bulk_create(known, update_conflicts=True, unique_fields=["id"], update_fields=SESSION_FIELDS)
