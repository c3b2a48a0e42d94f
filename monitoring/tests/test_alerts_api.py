"""Alerts, rules and silences over HTTP: who sees and does what, filters, and what it leaves behind."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.models import Alert, Rule, Silence
from orgs.models import AuditEntry, Event
from orgs.tests import cast
from orgs.tests.cast import Cast

pytestmark = pytest.mark.django_db
SYSTEM = "/api/v1/system"


@pytest.fixture
def people(settings: Any) -> Cast:
    return cast.make(settings)


def alert(key: str, organization_id: str = "org-001", **columns: Any) -> Alert:
    now = timezone.now()
    values = {"alert_type": "cpu", "severity": "error", "title": key, "started_at": now, "last_seen_at": now}
    return Alert.objects.create(dedup_key=key, organization_id=organization_id, **(values | columns))


def data(answer: Any, status: int = 200) -> Any:
    assert answer.status_code == status, answer.content
    return json.loads(answer.content)["data"]


def refusal(answer: Any) -> tuple[int, str]:
    return answer.status_code, json.loads(answer.content)["error"]


def titles(answer: Any) -> list[str]:
    return [row["title"] for row in data(answer)["items"]]


def test_an_organization_sees_its_own_alerts_newest_first(people: Cast) -> None:
    alert("one"), alert("two"), alert("foreign", "org-002"), alert("controller", "")
    assert titles(people.alice.get(f"{SYSTEM}/alerts/organization/org-001")) == ["two", "one"]
    assert titles(people.alice.get(f"{SYSTEM}/alerts")) == ["two", "one"]
    assert refusal(people.alice.get(f"{SYSTEM}/alerts/organization/org-002")) == (404, "not_found")
    assert set(titles(people.root.get(f"{SYSTEM}/alerts"))) == {"one", "two", "foreign", "controller"}
    foreign = Alert.objects.get(title="foreign").alert_id
    assert refusal(people.alice.get(f"{SYSTEM}/alerts/{foreign}")) == (404, "not_found")
    assert refusal(people.alice.get(f"{SYSTEM}/alerts/{Alert.objects.get(title='controller').alert_id}"))[0] == 404


def test_filters(people: Cast) -> None:
    alert("one", severity="warning")
    alert("two", alert_type="memory")
    alert("three", status="acknowledged")
    alert("four", status="resolved")
    path = f"{SYSTEM}/alerts/organization/org-001"
    assert titles(people.vera.get(f"{path}?severity=warning")) == ["one"]
    assert titles(people.vera.get(f"{path}?alert_type=memory")) == ["two"]
    assert titles(people.vera.get(f"{path}?status=acknowledged")) == ["three"]
    assert titles(people.vera.get(f"{path}?status=open")) == ["three", "two", "one"]
    assert titles(people.vera.get(f"{path}?limit=1")) == ["four"]
    assert refusal(people.vera.get(f"{path}?status=burning")) == (400, "invalid_parameter")


def test_an_alert_that_nobody_was_told_of_says_so(people: Cast) -> None:
    now = timezone.now()
    row = alert("one", is_announced=True, announced_at=now, told_channels=0)
    names = ("is_announced", "announced_at", "told_channels")
    found = data(people.alice.get(f"{SYSTEM}/alerts/{row.alert_id}"))
    assert [found[name] for name in names] == [False, None, 0]
    Alert.objects.update(told_channels=2)
    found = data(people.alice.get(f"{SYSTEM}/alerts/{row.alert_id}"))
    assert (found["is_announced"], found["told_channels"]) == (True, 2)
    assert found["announced_at"]


def test_an_administrator_acknowledges_once(people: Cast) -> None:
    row = alert("one")
    path = f"{SYSTEM}/alerts/{row.alert_id}/acknowledge"
    assert refusal(people.vera.call("POST", path, {})) == (403, "forbidden")
    found = data(people.alice.call("POST", path, {"reason": "looking"}))
    assert (found["status"], found["acknowledged_by"]) == ("acknowledged", AuditEntry.objects.latest("pk").actor)
    assert found["timeline"][-1]["what"] == "acknowledged"
    assert found["timeline"][-1]["note"] == "looking"
    assert refusal(people.alice.call("POST", path, {})) == (409, "conflict")
    assert AuditEntry.objects.filter(action="alert.acknowledge", target_id=row.alert_id).count() == 1
    assert Event.objects.filter(kind="alert.acknowledged", organization_id="org-001").count() == 1


def test_an_incident_is_resolved_with_its_parts(people: Cast) -> None:
    incident = alert("fleet", alert_type="fleet_offline")
    alert("part", parent=incident)
    found = data(people.alice.get(f"{SYSTEM}/alerts/{incident.alert_id}"))
    assert found["children"] == 1
    part = Alert.objects.get(title="part")
    assert data(people.alice.get(f"{SYSTEM}/alerts/{part.alert_id}"))["incident"] == incident.alert_id
    data(people.alice.call("POST", f"{SYSTEM}/alerts/{incident.alert_id}/resolve", {}))
    assert set(Alert.objects.values_list("status", flat=True)) == {"resolved"}


def test_an_administrator_makes_a_rule_of_its_own_and_leaves_the_others(people: Cast) -> None:
    shared = Rule.objects.get(rule_key="cpu.error")
    keys = {row["rule_key"] for row in data(people.vera.get(f"{SYSTEM}/alert-rules"))["items"]}
    assert {"cpu.error", "budget.warning"} <= keys
    assert refusal(people.alice.call("PATCH", f"{SYSTEM}/alert-rules/{shared.pk}", {"threshold": 1})) == (
        403,
        "forbidden",
    )
    made = data(people.alice.call("POST", f"{SYSTEM}/alert-rules", {"rule_key": "cpu.error", "threshold": 60}), 201)
    assert (made["organization_id"], made["metric"], made["threshold"]) == ("org-001", "cpu_usage_percent", 60)
    assert (made["is_default"], made["waits_for"]) == (False, "")
    again = people.alice.call("POST", f"{SYSTEM}/alert-rules", {"rule_key": "cpu.error", "threshold": 61})
    assert refusal(again) == (409, "conflict")
    body = {"rule_key": "x", "organization_id": "org-002", "threshold": 1}
    assert refusal(people.alice.call("POST", f"{SYSTEM}/alert-rules", body)) == (404, "not_found")
    data(people.root.call("PATCH", f"{SYSTEM}/alert-rules/{shared.pk}", {"threshold": 85}))
    assert Rule.objects.get(pk=shared.pk).is_changed
    assert people.root.call("DELETE", f"{SYSTEM}/alert-rules/{shared.pk}").status_code == 204
    assert Rule.objects.get(pk=shared.pk).threshold == 90


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rule_key": "x y", "threshold": 1}, "rule_key"),
        ({"rule_key": "x", "threshold": 1}, "metric"),
        ({"rule_key": "cpu.error", "metric": "nothing"}, "metric"),
        ({"rule_key": "cpu.error", "comparison": "=~"}, "comparison"),
        ({"rule_key": "cpu.error", "for_seconds": -1}, "for_seconds"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(people: Cast, body: dict[str, Any], field: str) -> None:
    answer = people.alice.call("POST", f"{SYSTEM}/alert-rules", body)
    assert refusal(answer) == (400, "invalid_field")
    assert field in json.loads(answer.content)["fields"]


def test_silences(people: Cast) -> None:
    end = (timezone.now() + timedelta(hours=1)).isoformat()
    assert refusal(people.vera.call("POST", f"{SYSTEM}/silences", {"ends_at": end})) == (403, "forbidden")
    made = data(people.alice.call("POST", f"{SYSTEM}/silences", {"ends_at": end, "labels": {"env": "prod"}}), 201)
    assert (made["organization_id"], made["kind"], made["is_active"]) == ("org-001", "silence", True)
    row = alert("one")
    snooze = data(people.alice.call("POST", f"{SYSTEM}/silences", {"ends_at": end, "alert_id": row.alert_id}), 201)
    assert snooze["kind"] == "snooze"
    answer = people.root.call("POST", f"{SYSTEM}/silences", {"ends_at": end})
    assert (answer.status_code, "true to silence the whole installation" in str(answer.json()["fields"])) == (400, True)
    everything = {"ends_at": end, "everything": True}
    assert data(people.root.call("POST", f"{SYSTEM}/silences", everything), 201)["organization_id"] == ""
    answer = people.root.call("POST", f"{SYSTEM}/silences", {"ends_at": end, "rule_key": "nonsense"})
    assert answer.status_code == 400
    assert "There is no such rule" in answer.json()["fields"]["rule_key"]
    assert len(data(people.vera.get(f"{SYSTEM}/silences?is_active=true"))["items"]) == 2
    path = f"{SYSTEM}/silences/{made['silence_id']}"
    assert people.alice.call("DELETE", path).status_code == 204
    assert refusal(people.alice.call("DELETE", path)) == (409, "conflict")
    assert Silence.objects.get(silence_id=made["silence_id"]).ends_at <= timezone.now()
    past = {"ends_at": "2020-01-01T00:00:00Z"}
    assert refusal(people.alice.call("POST", f"{SYSTEM}/silences", past)) == (400, "invalid_field")


def test_the_overview_counts_open_alerts_without_parts_of_incidents(people: Cast) -> None:
    incident = alert("fleet")
    alert("part", parent=incident), alert("over", status="resolved"), alert("foreign", "org-002"), alert("own", "")
    overview = "/api/v1/controller/overview"
    assert data(people.alice.get(overview))["alerts_open"] == 1
    assert data(people.root.get(overview))["alerts_open"] == 3
