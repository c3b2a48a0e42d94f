"""The stage: organizations A and B, everybody, and calls that leave nothing behind."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from django.db import transaction
from django.test import override_settings

from orchestrators.models import Instance, Rollout
from orgs.models import Organization
from tests.matrix import people, place
from tests.matrix.people import MEMBERS, ORCHESTRATORS, PARTS, Caller, Part
from tests.matrix.place import Place
from tests.matrix.rows import Row

CANARY: Final = "kanarienvogel"
SETTINGS: Final = {
    "DEV_BEARER_TOKEN": people.TOKEN,
    "DEFAULT_ORGANIZATION_ID": "org-a",
}


@dataclass
class Stage:
    """Both organizations and everybody."""

    a: Place
    b: Place
    callers: dict[Part, Caller]

    def caller(self, role: str, kind: str = "key") -> Caller:
        """Return who plays a role with a good credential; the superadmin comes with the static token."""
        kind = {"AN": "none", "SA": kind if kind != "key" else "token"}.get(role, kind)
        return self.callers[Part(role, kind)]


@contextmanager
def built(blocker: Any) -> Iterator[Stage]:
    """Build the stage in a transaction that is rolled back at the end; needs `django_db_setup`."""
    with blocker.unblock(), override_settings(**SETTINGS), undone():
        yield build()


def build() -> Stage:
    """Make both organizations and everybody."""
    a, b = place.make("org-a", word="alphabet"), place.make(f"org-{CANARY}", word=CANARY)
    homes = {"A": Organization.objects.get(pk=a.organization), "B": Organization.objects.get(pk=b.organization)}
    users = {
        role: people.person(f"{CANARY if home == 'B' else 'a'}-{role.lower()}", homes[home], name)
        for role, (home, name) in MEMBERS.items()
    }
    users["SA"] = people.person("root", None, "")
    stage = Stage(a, b, {})
    for part in PARTS:
        if part.kind in ("jwt", "session"):
            stage.callers[part] = people.signing_in(part, users[part.role])
        elif part.kind != "key":
            stage.callers[part] = people.plain(part)
        elif part.role in MEMBERS:
            home, name = MEMBERS[part.role]
            stage.callers[part] = people.with_key(part, homes[home], role=name)
        else:
            home, is_bound = ORCHESTRATORS[part.role]
            own = (a if home == "A" else b).orchestrator if is_bound else ""
            stage.callers[part] = people.with_key(part, homes[home], orchestrator_id=own)
    return stage


def play(stage: Stage, row: Row, caller: Caller, *, method: str = "", **headers: str) -> Any:
    """Let a caller make the row's call about A."""
    if row.is_quiet:
        Instance.objects.filter(organization_id=stage.a.organization).update(is_connected=False)
    if row.rollout:
        Rollout.objects.filter(pk=stage.a.rollout).update(status=row.rollout, finished_at=None)
    return caller.call(method or row.method, stage.a.fill(row.path), stage.a.fill(row.body), **headers)


@contextmanager
def undone() -> Iterator[None]:
    """Undo what the block writes."""
    with transaction.atomic():
        try:
            yield
        finally:
            transaction.set_rollback(True)
