"""Calls of models in performance and queries: every figure against one counted by hand."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from llm_gateway.models import Call
from monitoring.tests.test_analytics_performance import asked, by_key, data
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
END = timezone.now().replace(minute=0, second=0, microsecond=0)
HOUR = timedelta(hours=1)


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def model_call(model: str, *, ms: float | None = 100, hours_ago: float, status: str = "completed", **more: Any) -> None:
    at = END - hours_ago * HOUR
    columns = {
        "organization_id": "org-001",
        "provider": "openai",
        "key_id": "key_1",
        "started_at": at,
        "finished_at": at,
    } | more
    Call.objects.create(
        call_id=f"call_{Call.objects.count()}", requested_model=model, model="" if status == "failed" else model,
        status=status, latency_ms=ms, input_tokens=10, output_tokens=5, cost_usd_micros=250_000,
        **columns,
    )  # fmt: skip


def test_calls_of_models_are_counted_and_timed(people: Cast) -> None:
    for ms, hours in ((10, 3), (20, 3), (5000, 1)):
        model_call("gpt-x", ms=ms, hours_ago=hours)
    model_call("gpt-x", status="failed", hours_ago=1)
    model_call("gpt-x", status="lost", ms=None, hours_ago=1)
    model_call("gpt-x", status="cancelled", hours_ago=1)
    model_call("claude-x", hours_ago=2, provider="anthropic")
    model_call("theirs", hours_ago=2, organization_id="org-002")
    model_call("running", hours_ago=1, finished_at=None)
    found = asked(people.vera, group_by="model", percentiles="50,99")
    assert (found["basis"], found["summary"]["sample_count"], set(by_key(found))) == (
        "gateway calls", 6, {"gpt-x", "claude-x"},
    )  # fmt: skip
    assert by_key(found)["gpt-x"]["value"] == pytest.approx((10 + 20 + 5000 + 100 + 100) / 5)
    assert by_key(found)["gpt-x"]["percentiles"]["99"] == pytest.approx(5000, rel=0.06)
    assert by_key(found)["claude-x"]["percentiles"]["50"] == pytest.approx(100, rel=0.06)
    rates = asked(people.vera, group_by="model", metric_type="error_rate")
    assert by_key(rates)["gpt-x"]["value"] == pytest.approx(2 / 6)
    assert set(by_key(asked(people.root, group_by="model", organization_ids="org-002"))) == {"theirs"}
    assert asked(people.vera, group_by="model", metric_type="availability")["summary"]["value"] == pytest.approx(5 / 7)
    span = {"start": (END - 4 * HOUR).isoformat(), "end": END.isoformat()}
    names = ["model_calls", "model_calls_failed", "model_tokens", "model_cost_usd"]
    body: dict[str, Any] = {"metrics": names, "time_range": span, "group_by": ["hour", "model"], "aggregation": "sum"}
    rows = data(people.vera.call("POST", "/api/v1/controller/query", body))["rows"]
    told = [(row["model"], *(row[name] for name in names)) for row in rows]
    assert told == [
        ("gpt-x", 2, 0, 30, 0.5), ("claude-x", 1, 0, 15, 0.25), ("gpt-x", 4, 2, 60, 1.0),
    ]  # fmt: skip
    body |= {
        "metrics": ["model_call_ms"],
        "group_by": "provider",
        "aggregation": "max",
        "filters": {"api_key": "key_1"},
    }
    rows = data(people.vera.call("POST", "/api/v1/controller/query", body))["rows"]
    assert {row["provider"]: row["model_call_ms"] for row in rows} == {"openai": 5000, "anthropic": 100}
