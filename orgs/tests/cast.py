"""The standing cast of the door tests: two organizations, a person for each role, and how they call the API.

Alice administers org-001, Oscar is its operator, Vera its viewer; Charlie administers org-002; Root is superadmin.
"""

from dataclasses import dataclass
from typing import Any

from django.test import Client

from orgs import keys, organizations
from orgs.models import Organization

TOKEN = "a-superadmin-token-for-tests-only"
ROLES = {"alice": ("org-001", "admin"), "oscar": ("org-001", "operator"), "vera": ("org-001", "viewer")}


@dataclass
class Person:
    """Somebody with a credential; `headers` are what every call of theirs carries."""

    headers: dict[str, str]

    def call(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API; a `body` of str or bytes is sent as it is, anything else as JSON."""
        options: dict[str, Any] = {"headers": {**self.headers, **headers}}
        if body is not None:
            options |= {"data": body, "content_type": "application/json"}
        return getattr(Client(), method.lower())(path, **options)

    def get(self, path: str, **headers: str) -> Any:
        """GET a path."""
        return self.call("GET", path, **headers)


@dataclass
class Cast:
    """Everybody."""

    root: Person
    alice: Person
    oscar: Person
    vera: Person
    charlie: Person
    machine: Person
    nobody: Person
    mallory: Person


def make(settings: Any) -> Cast:
    """Make the organizations and the keys; `settings` is pytest-django's fixture."""
    settings.DEV_BEARER_TOKEN = TOKEN
    ours = organizations.create("org-001", name="Acme", acting_user=None)
    theirs = organizations.create("org-002", name="Globex", acting_user=None)
    people = {name: person(ours, role=role) for name, (_, role) in ROLES.items()}
    _, secret = keys.create(ours, name="machine", acting_user=None, scopes=["orchestrator"])
    return Cast(
        root=Person({"Authorization": f"Bearer {TOKEN}"}),
        charlie=person(theirs, role="admin"),
        machine=Person({"X-API-Key": secret}),
        nobody=Person({}),
        mallory=Person({"Authorization": f"Bearer {keys.generate()}"}),
        **people,
    )


def person(organization: Organization, *, role: str) -> Person:
    """Make a key with a role and return who holds it."""
    _, secret = keys.create(organization, name=role, acting_user=None, role=role)
    return Person({"Authorization": f"Bearer {secret}"})
