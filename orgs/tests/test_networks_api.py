"""Allowed networks over HTTP: a superadmin allows and refuses them, and what they open is open at once."""

import json
from typing import Any

import pytest

from orgs import destinations
from orgs.models import AllowedNetwork, AuditEntry
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = [pytest.mark.once, pytest.mark.django_db]
PATH = "/api/v1/internal/allowed-networks"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def allow(people: Cast, cidr: str, *, whose: str = "org-001") -> Any:
    answer = people.root.call("POST", PATH, {"organization_id": whose, "cidr": cidr, "reason": "vLLM"})
    return answer.status_code, json.loads(answer.content)


def test_a_network_is_allowed_for_one_organization_until_it_is_refused(people: Cast) -> None:
    status, answer = allow(people, "10.1.0.0/16")
    assert status == 201
    row = answer["data"]
    assert (row["cidr"], row["organization_id"], row["reason"]) == ("10.1.0.0/16", "org-001", "vLLM")
    assert allow(people, "10.1.0.0/16")[0] == 409
    assert allow(people, "10.1.0.0/16", whose="org-002")[0] == 201
    listed = json.loads(people.root.get(f"{PATH}?organization_id=org-001").content)["data"]
    assert [one["id"] for one in listed["items"]] == [row["id"]]
    assert "10.1.0.0/16" in destinations.allowed_networks("org-001")
    assert people.root.call("DELETE", f"{PATH}/{row['id']}").status_code == 204
    assert people.root.call("DELETE", f"{PATH}/{row['id']}").status_code == 404
    assert destinations.allowed_networks("org-001") == ()
    rows = AuditEntry.objects.filter(action__startswith="network.").order_by("pk")
    assert list(rows.values_list("action", "organization_id")) == [
        ("network.allow", "org-001"), ("network.allow", "org-002"), ("network.refuse", "org-001"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cidr", "whose", "status", "field"),
    [("10.1.0.1/16", "org-001", 400, "cidr"), ("inside", "org-001", 400, "cidr"), ("10.1.0.0/16", "nobody", 404, "")],
)
def test_what_is_no_network_or_nobodys_is_refused(people: Cast, cidr: str, whose: str, status: int, field: str) -> None:
    code, answer = allow(people, cidr, whose=whose)
    assert code == status
    assert list(answer.get("fields", {"": ""})) == [field]
    assert AllowedNetwork.objects.count() == 0
