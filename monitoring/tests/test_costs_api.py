"""Costs over HTTP: sums of the ledger, exact at ragged ends, by whom and for what; forecast; overview."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from llm_gateway.models import Call
from llm_gateway.money import budgets, ledger, records, spending
from monitoring import costs
from monitoring.models import Alert
from monitoring.tests.alert_stage import Beat, organization
from orgs import spending as org_limits
from orgs.models import Organization
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
COSTS = "/api/v1/controller/costs"
START = datetime(2026, 11, 16, tzinfo=UTC)  # a Monday
_ids = itertools.count()


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def data(answer: Any, *, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def spend(at: datetime, micros: int, *, organization: str = "org-001", **more: Any) -> None:
    """Put one finished call into the ledger."""
    who = {name: more.pop(name) for name in ("key_id",) if name in more}
    moment, call_id = at.timestamp(), f"call_{next(_ids)}"
    begin = records.Begin(call_id=call_id, organization_id=organization, requested_model="gpt-4o", at=moment, **who)
    columns: dict[str, Any] = {"status": "completed", "provider": "openai", "model": "gpt-4o", "input_tokens": 3} | more
    ledger.write([begin, records.End(call_id=call_id, at=moment, cost_usd_micros=micros, **columns)], holder="p-1")


def test_sums_are_those_of_the_rows_whatever_the_ends() -> None:
    for minutes in range(0, 600, 7):
        spend(START + timedelta(minutes=minutes), minutes * 13 + 1, saved_usd_micros=minutes)
    for first, last in ((0, 600), (0, 60), (13, 47), (59, 61), (60, 180), (61, 179), (13, 240), (120, 433)):
        since, until = (START + timedelta(minutes=minutes) for minutes in (first, last))
        rows = Call.objects.filter(started_at__gte=since, started_at__lt=until)
        found = spending.totals(organizations=None, since=since, until=until)
        expected = sum(rows.values_list("cost_usd_micros", flat=True))
        assert sum(total.cost_usd_micros for total in found.values()) == expected
        saved = sum(rows.values_list("saved_usd_micros", flat=True))
        assert sum(total.saved_usd_micros for total in found.values()) == saved
        assert sum(total.requests for total in found.values()) == rows.count()


def tables(**wish: Any) -> tuple[set[str], int]:
    """Return which tables are read for a sum, and how many calls it comes to."""
    with CaptureQueriesContext(connection) as queries:
        found = spending.totals(organizations=None, **wish)
    read = {name for name in ("llm_calls", "llm_spending") for query in queries if f'"{name}"' in query["sql"]}
    return read, sum(total.requests for total in found.values())


def test_the_hour_that_runs_is_read_from_its_row() -> None:
    now = timezone.now()
    hour = now.replace(minute=0, second=0, microsecond=0)
    for at in (hour - timedelta(minutes=90), hour - timedelta(minutes=5), hour, now):
        spend(at, 1)
    since = hour - timedelta(hours=2)
    for late in (timedelta(), timedelta(seconds=20), timedelta(days=-1)):
        assert tables(since=since, until=now - late) == ({"llm_spending"}, 4)
    assert tables(since=since, until=hour - timedelta(minutes=30)) == ({"llm_calls", "llm_spending"}, 1)


def test_the_report_reads_no_call_of_the_hour_that_runs(people: Cast) -> None:
    for minutes in (0, 1, 50):
        spend(timezone.now() - timedelta(minutes=minutes), 1_000_000)
    with CaptureQueriesContext(connection) as queries:
        assert data(people.vera.get(COSTS))["request_count"] == 3
    today = f"{timezone.now():%Y-%m-%d}"  # the ragged ends of the period are both long ago
    assert not [query["sql"] for query in queries if '"llm_calls"' in query["sql"] and today in query["sql"]]


def test_costs_are_broken_down_and_in_series(people: Cast) -> None:
    spend(START + timedelta(hours=1), 1_000_001, key_id="key_1")
    spend(START + timedelta(hours=30), 2_000_000, key_id="key_2", model="o3", provider="azure", saved_usd_micros=7)
    spend(START + timedelta(hours=31), 0, key_id="key_2", status="failed", error="timeout", model="", provider="")
    spend(START - timedelta(hours=30), 500_000, key_id="key_1")
    spend(START + timedelta(hours=2), 9_000_000, organization="org-002")
    period = "start_date=2026-11-16&end_date=2026-11-18"
    shown = data(people.vera.get(f"{COSTS}?{period}&group_by=api_key&granularity=day"))
    assert (shown["total_cost"], shown["currency"], shown["request_count"], shown["failed_count"]) == (
        3.000001, "USD", 2, 1,
    )  # fmt: skip
    assert shown["saved_by_cache"] == 0.000007
    assert shown["cost_breakdown"][1] == {
        "dimension": "api_key", "dimension_value": "key_1", "cost": 1.000001, "token_count": 3, "request_count": 1,
        "failed_count": 0, "cost_per_request": 1.000001, "trend": 100.0,
    }  # fmt: skip
    assert [(point["start"], point["cost"]) for point in shown["series"]] == [
        ("2026-11-16T00:00:00Z", 1.000001), ("2026-11-17T00:00:00Z", 2.0),
    ]  # fmt: skip
    by_model = data(people.vera.get(f"{COSTS}?{period}&group_by=model&granularity=week"))
    assert [line["dimension_value"] for line in by_model["cost_breakdown"]] == ["o3", "gpt-4o"]
    assert [point["start"] for point in by_model["series"]] == ["2026-11-16T00:00:00Z"]
    everybody = data(people.root.get(f"{COSTS}?{period}"))
    assert [line["dimension_value"] for line in everybody["cost_breakdown"]] == ["org-002", "org-001"]
    for query in ("organization_id=org-001", "organization_ids=org-001,org-001"):
        assert data(people.root.get(f"{COSTS}?{period}&{query}"))["total_cost"] == 3.000001
    assert people.alice.get(f"{COSTS}?organization_ids=org-001,org-002").status_code == 404
    assert people.alice.get(f"{COSTS}?granularity=minute").status_code == 400
    overview = data(people.root.get(f"/api/v1/controller/overview?{period}"))
    assert (overview["requests"], overview["tokens"], overview["cost_usd"]) == (4, 12, 12.000001)
    assert overview["top_organizations"][0] == {"organization_id": "org-002", "name": "Globex", "cost_usd": 9.0}


def test_the_forecast_is_the_month_so_far_and_the_mean_of_the_days_before() -> None:
    now = START + timedelta(days=5)  # 21 November, 10 days are left
    assert costs.forecast(["org-001"], now=now) is None
    for day, micros in enumerate((1_000_000, 2_000_000, 3_000_000)):
        spend(now - timedelta(days=3 - day), micros)
    found = costs.forecast(["org-001"], now=now)
    assert found is not None
    assert found["end_of_period_cost"] == 6.0 + 2.0 * 10
    assert found["low"] == round(26 - 1.2816 * 10**0.5, 6)
    assert found["high"] == round(26 + 1.2816 * 10**0.5, 6)
    assert costs.forecast(["org-002"], now=now) is None


def test_how_much_of_a_budget_is_used(people: Cast) -> None:
    now = timezone.now()
    for name, budget in (("org-001", 2), ("org-002", None)):
        org_limits.put(Organization.objects.get(pk=name), acting_user=None, budget_usd=budget, budget_window="day")
        spend(now, 1_600_000, organization=name)
    assert budgets.used(now=now) == {"org-001": (1_600_000, 2_000_000)}
    assert budgets.used(now=now + timedelta(days=1)) == {"org-001": (0, 2_000_000)}


def test_a_budget_that_is_nearly_spent_and_one_that_is_spent_are_alerts(settings: Any) -> None:
    settings.REDIS_URL = ""
    home = organization("acme")
    org_limits.put(home, acting_user=None, budget_usd=2, budget_window="total")
    beat = Beat()
    found = {}
    for micros in (1_590_000, 10_000, 400_000):
        spend(beat.now, micros, organization="acme")
        beat.run(20)
        found[micros] = {row.severity for row in Alert.objects.filter(organization_id="acme", alert_type="budget")}
    assert found == {1_590_000: set(), 10_000: {"warning"}, 400_000: {"error"}}
    alert = Alert.objects.get(organization_id="acme", alert_type="budget", severity="error")
    assert "$2.00 of $2.00 are spent." in alert.detail
