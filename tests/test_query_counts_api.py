"""Every list of the API asks the database as often for 10,000 rows as for 10."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext

from llm_gateway.models import Call, Price, Refusal
from orchestrators.models import Instance, Job, Message
from orgs.models import ApiKey, AuditEntry, Membership, Organization, User
from orgs.tests import cast
from orgs.tests.cast import Cast, Person

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FEW, MANY = 10, 10_000


def organizations(first: int, end: int) -> list[Model]:
    return [Organization(organization_id=f"many-{number}", name="Many") for number in range(first, end)]


def orchestrators(first: int, end: int) -> list[Model]:
    live = {"is_connected": True, "connected_at": NOW, "last_seen": NOW, "organization_id": "org-001"}
    return [Instance(orchestrator_id=f"many-{number}", **live) for number in range(first, end)]


def messages(first: int, end: int) -> list[Model]:
    home = "talker"
    Instance.objects.get_or_create(orchestrator_id=home, organization_id="org-001")
    return [
        Message(orchestrator_id=home, message_id=f"m-{number}", message_type="note") for number in range(first, end)
    ]


def users(first: int, end: int) -> list[Model]:
    names = [User(username=f"many-{number}", email="m@example.com") for number in range(first, end)]
    made = User.objects.bulk_create(names, batch_size=1000)
    return [Membership(user=user, organization_id="org-001") for user in made]


def api_keys(first: int, end: int) -> list[Model]:
    maker, _ = User.objects.get_or_create(username="maker")
    return [
        ApiKey(key_id=f"k{n}", organization_id="org-001", name="k", secret_hash=f"{n}", role="viewer", created_by=maker)
        for n in range(first, end)
    ]


def audit(first: int, end: int) -> list[Model]:
    columns: dict[str, Any] = {"organization_id": "org-001", "actor": "a", "action": "x", "created_at": NOW}
    return [AuditEntry(sequence=1_000 + number, **columns) for number in range(first, end)]


def jobs(first: int, end: int) -> list[Model]:
    columns: dict[str, Any] = {"organization_id": "org-001", "actor": "a", "kind": "x", "created_at": NOW}
    return [Job(job_id=f"j-{number}", **columns) for number in range(first, end)]


def recommendations(first: int, end: int) -> list[Model]:
    rows: list[Any] = messages(first, end)
    for row in rows:
        row.message_type, row.direction = "recommendation", "inbound"
    return rows


def prices(first: int, end: int) -> list[Model]:
    amounts = {"input_usd_per_million": 1, "output_usd_per_million": 2}
    return [Price(organization_id="org-001", model=f"m-{number}", **amounts) for number in range(first, end)]


def calls(first: int, end: int) -> list[Model]:
    columns: dict[str, Any] = {"organization_id": "org-001", "requested_model": "m", "started_at": NOW, "holder": "p-1"}
    return [Call(call_id=f"call-{number}", **columns) for number in range(first, end)]


def refusals(first: int, end: int) -> list[Model]:
    columns: dict[str, Any] = {"organization_id": "org-001", "minute_at": NOW, "last_at": NOW}
    return [Refusal(code=f"code-{number}", **columns) for number in range(first, end)]


LISTS: list[tuple[str, Callable[[int, int], list[Model]], int]] = [
    ("/api/v1/controller/organizations", organizations, 4),
    ("/api/v1/controller/orchestrators", orchestrators, 4),
    ("/api/v1/controller/orchestrators/live", orchestrators, 4),
    ("/api/v1/internal/messages", messages, 4),
    ("/api/v1/internal/audit", audit, 4),
    ("/api/v1/internal/jobs", jobs, 4),
    ("/api/v1/orchestrators/org-001/recommendations", recommendations, 4),
    ("/api/v1/orchestrators/org-001/users", users, 4),
    ("/api/v1/orchestrators/org-001/api-keys", api_keys, 4),
    ("/api/v1/orchestrators/org-001/prices", prices, 4),
    ("/api/v1/orchestrators/org-001/llm/calls", calls, 4),
    ("/api/v1/orchestrators/org-001/llm/refusals", refusals, 4),
]


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def queries(person: Person, path: str, *, at_least: int) -> int:
    """Return how many queries a page of 1,000 rows takes, when there are at least so many in all."""
    with CaptureQueriesContext(connection) as captured:
        answer = person.get(f"{path}?page_size=1000")
    assert answer.status_code == 200
    assert answer.json()["data"]["total_items"] >= at_least
    return len(captured)


@pytest.mark.parametrize("who", ["alice", "root"])
@pytest.mark.parametrize(("path", "rows", "limit"), LISTS, ids=[path.rpartition("/")[2] for path, _, _ in LISTS])
def test_a_list_takes_as_many_queries_for_10000_rows_as_for_10(
    people: Cast, who: str, path: str, rows: Callable[[int, int], list[Model]], limit: int
) -> None:
    person = getattr(people, who)
    is_own = rows is organizations and who == "alice"  # however many there are, hers is one
    few = fill(rows(0, FEW))
    assert few == FEW
    before = queries(person, path, at_least=1 if is_own else FEW)
    fill(rows(FEW, MANY))
    assert queries(person, path, at_least=1 if is_own else MANY) == before <= limit


def fill(rows: list[Model]) -> int:
    """Insert the rows in few statements and return how many they were."""
    type(rows[0])._default_manager.bulk_create(rows, batch_size=1000)
    return len(rows)
