"""The overview: what it counts, for whom, in which period, and at what price."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from monitoring import overview
from monitoring.periods import Period
from orchestrators import instances, messages
from orchestrators.models import Instance, Message
from orgs import organizations
from orgs.models import Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
OVERVIEW = "/api/v1/controller/overview"


@pytest.fixture
def people(settings: Any) -> Cast:
    """The cast; org-001 has two orchestrators, one of them active, and two messages; org-002 has one of each."""
    found = cast.make(settings)
    for name, organization_id in (("orch-001", "org-001"), ("orch-003", "org-001"), ("orch-002", "org-002")):
        organization = Organization.objects.get(pk=organization_id)
        instances.create(name, organization=organization, acting_user=None)
        messages.queue(name, message_type="note", content={}, acting_user=None)
    Instance.objects.filter(orchestrator_id="orch-001").update(status="active")
    Message.objects.filter(orchestrator__orchestrator_id="orch-001").update(status="delivered")
    return found


@pytest.fixture
def no_sources() -> Iterator[None]:
    """Put back what was installed."""
    before = overview._sources
    yield
    overview.install(before)


def data(answer: Any) -> Any:
    assert answer.status_code == 200, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def test_a_superadmin_sees_everything_counted(people: Cast) -> None:
    Organization.objects.filter(pk="org-002").update(status="suspended")
    found = data(people.root.get(OVERVIEW))
    assert found["organizations"] == {"total": 2, "active": 1, "inactive": 0, "suspended": 1, "provisioning": 0}
    assert found["orchestrators"] == {
        "total": 3, "active": 1, "independent": 0, "inactive": 2, "degraded": 0, "error": 0,
    }  # fmt: skip
    assert found["messages"] == {"pending": 2, "sent": 0, "delivered": 1, "failed": 0, "expired": 0}
    assert (found["requests"], found["tokens"], found["cost_usd"], found["alerts_open"]) == (0, 0, 0, 0)
    assert found["top_organizations"] == []
    period = [datetime.fromisoformat(found[name]) for name in ("start_date", "end_date")]
    assert period[1] - period[0] == timedelta(days=30)


def test_members_see_their_own(people: Cast) -> None:
    for person in (people.alice, people.oscar, people.vera):
        found = data(person.get(OVERVIEW))
        assert (found["organizations"]["total"], found["orchestrators"]["total"]) == (1, 2)
        assert found["messages"]["pending"] == 1
    assert data(people.charlie.get(OVERVIEW))["orchestrators"]["total"] == 1
    assert data(people.root.get(f"{OVERVIEW}?organization_id=org-002")) | {"start_date": "", "end_date": ""} == data(
        people.charlie.get(OVERVIEW)
    ) | {"start_date": "", "end_date": ""}
    assert refusal(people.alice.get(f"{OVERVIEW}?organization_id=org-002")) == (404, "not_found")
    assert refusal(people.alice.get(f"{OVERVIEW}?organization_id=nowhere")) == (404, "not_found")


def test_others_see_nothing(people: Cast) -> None:
    assert refusal(people.nobody.get(OVERVIEW)) == (401, "unauthenticated")
    assert refusal(people.mallory.get(OVERVIEW)) == (403, "forbidden")
    assert refusal(people.machine.get(OVERVIEW)) == (403, "forbidden")


@pytest.mark.parametrize(
    ("query", "pending"),
    [
        ("", 1),
        ("?start_date=2026-01-01", 2),
        ("?start_date=2026-01-01&end_date=2026-01-02", 1),
        ("?start_date=2026-01-01&end_date=2026-01-02T03:04:05Z", 0),
        ("?start_date=2026-01-02T03:04:05Z&end_date=2026-01-02T03:04:06%2B00:00", 1),
        ("?end_date=2026-01-20", 1),
        ("?start_date=2026-01-03&end_date=2026-01-04", 0),
    ],
)
def test_messages_are_those_of_the_period(people: Cast, query: str, pending: int) -> None:
    old = Message.objects.get(orchestrator__orchestrator_id="orch-003")
    Message.objects.filter(pk=old.pk).update(created_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    messages.queue("orch-003", message_type="note", content={}, acting_user=None)
    assert data(people.alice.get(OVERVIEW + query))["messages"]["pending"] == pending


@pytest.mark.parametrize(
    "query",
    [
        "end_date=2026-W01-5", "end_date=20260102",
        "start_date=yesterday", "end_date=2026-13-01", "start_date=2026-01-02&end_date=2026-01-01", "start_date=",
        "start_date=2026-01-02T00:00:00Z&end_date=2026-01-02T00:00:00Z", "days=3", "end_date=1&end_date=2",
        "organization_ids=org-001",
    ],
)  # fmt: skip
def test_an_unusable_parameter_is_400(people: Cast, query: str) -> None:
    assert refusal(people.alice.get(f"{OVERVIEW}?{query}")) == (400, "invalid_parameter")


def test_a_wrong_method_is_405(people: Cast) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = people.root.call(method, OVERVIEW)
        assert refusal(answer) == (405, "method_not_allowed")
        assert set(answer["Allow"].split(", ")) == {"GET", "HEAD"}


def test_what_the_sources_count_is_added_up_within_the_callers_scope(people: Cast, no_sources: None) -> None:
    asked: list[tuple[Any, Period]] = []
    ledger = {
        "org-001": {"requests": 3, "tokens": 1000, "cost_usd_micros": 1_234_567},
        "org-002": {"requests": 1, "tokens": 5, "cost_usd_micros": 2_000_000},
    }

    def calls(scope: Any, period: Period) -> dict[str, dict[str, int]]:
        asked.append((scope, period))
        return {key: row for key, row in ledger.items() if scope is None or key in scope}

    def alerts(scope: Any, period: Period) -> dict[str, dict[str, int]]:
        return {"org-001": {"alerts_open": 2}}

    overview.install([calls, alerts])
    found = data(people.root.get(OVERVIEW))
    assert (found["requests"], found["tokens"], found["cost_usd"], found["alerts_open"]) == (4, 1005, 3.234567, 2)
    assert found["top_organizations"] == [
        {"organization_id": "org-002", "name": "Globex", "cost_usd": 2.0},
        {"organization_id": "org-001", "name": "Acme", "cost_usd": 1.234567},
    ]
    own = data(people.alice.get(OVERVIEW))
    assert [row["organization_id"] for row in own["top_organizations"]] == ["org-001"]
    assert [scope for scope, _ in asked] == [None, ["org-001"]]


def test_it_takes_as_many_queries_for_many_organizations_as_for_two(people: Cast) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as captured:
            data(people.root.get(OVERVIEW))
        return len(captured)

    few = queries()
    for number in range(30):
        organizations.create(f"more-{number}", name="More", acting_user=None)
    now = timezone.now()
    Instance.objects.bulk_create(
        Instance(orchestrator_id=f"many-{number}", organization_id="more-1", created_at=now) for number in range(500)
    )
    assert queries() == few <= 7


def test_messages_of_a_period_are_counted_along_an_index(people: Cast) -> None:
    """Of 2,000 messages hardly any is of the period."""
    Message.objects.bulk_create(Message(orchestrator_id="orch-001", message_id=f"old-{n}") for n in range(2000))
    Message.objects.filter(message_id__startswith="old").update(created_at=timezone.now() - timedelta(days=400))
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute(f"ANALYZE {Message._meta.db_table}")
    with CaptureQueriesContext(connection) as queries:
        data(people.root.get(OVERVIEW))
    [counted] = [query["sql"] for query in queries if 'COUNT("orchestrator_messages"' in query["sql"]]
    with connection.cursor() as cursor:
        cursor.execute(("EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN ") + counted)
        plan = str(cursor.fetchall())
    assert "messages_by_time" in plan
