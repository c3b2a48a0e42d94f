"""Events and rules: what fits, that a rule acts once for each event or not at all, and that nothing goes in circles."""

from typing import Any

import pytest
from django.db import OperationalError, connection

from moolai.errors import InvalidInput
from orchestrators.models import EventRule, Task
from orchestrators.work import event_rules, reactions
from orgs import rates
from orgs.models import AuditEntry, Event, Organization
from orgs.tests.cast import Cast, make

EVENT: dict[str, Any] = {"event_type": "deploy.failed", "source_agent": "ci", "payload": {"env": {"name": "live"}}}


@pytest.fixture
def cast(db: None, settings: Any) -> Cast:
    settings.REDIS_URL = ""
    rates._memory.windows.clear()
    return make(settings)


def rule(**columns: Any) -> EventRule:
    """Make a rule of org-001 that makes an incident of every failed deployment."""
    home = Organization.objects.get(pk="org-001")
    columns = {"name": "Failed deployment", "event_type": "deploy.*", "task_type": "incident"} | columns
    return event_rules.create(home, acting_user=None, **columns)


def publish(cast: Cast, **more: Any) -> dict[str, Any]:
    """Publish an event about org-001; return what is stored."""
    answer = cast.oscar.call("POST", "/events/publish", EVENT | more)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = Event.objects.filter(kind="event.published").latest("id").data
    return found


@pytest.mark.once
@pytest.mark.parametrize(
    ("event_type", "conditions", "is_met"),
    [("deploy.failed", {}, True), ("deploy", {}, False), ("*", {}, True), ("*.failed", {}, True),
     ("d.ploy*", {}, False), ("*ep*oy*led", {}, True), ("*fail*failed", {}, False), ("deploy.fail*failed", {}, False),
     ("*e" * 30 + "*x", {}, False), ("*", {"env.name": "live"}, True), ("*", {"env.name": ["test", "live"]}, True),
     ("*", {"env.name": "test"}, False), ("*", {"env.name": "live", "env.size": 3}, False),
     ("*", {"env.zone": None}, True), ("*", {"a.b": 1}, True), ("*", {"on": 1}, False), ("*", {"on": True}, True)],
)  # fmt: skip
def test_an_event_fits_by_its_type_and_its_payload(event_type: str, conditions: dict[str, Any], is_met: bool) -> None:
    event = EVENT | {"payload": {"env": {"name": "live"}, "a.b": 1, "on": True}}
    assert reactions.fits(EventRule(event_type=event_type, conditions=conditions), event) is is_met


def test_an_event_makes_a_task_that_says_where_it_came_from(cast: Cast) -> None:
    made = rule(priority="P1", payload={"runbook": 7}, conditions={"env.name": "live"})
    rule(name="Foreign", conditions={"env.name": "test"})
    rule(name="Off", is_enabled=False)
    told = publish(cast, trace_id="t-1")
    task = Task.objects.get()
    assert told["tasks"] == [task.task_id]
    assert (task.task_type, task.level, task.status, task.source) == (
        "incident", "P1", "pending_approval", "event:deploy.failed",
    )  # fmt: skip
    assert task.payload == {"runbook": 7, "event": EVENT | {"trace_id": "t-1"}}
    assert task.metadata == {"event_rules": [made.rule_id]}
    assert [step.kind for step in task.steps.all()] == ["created", "approval_requested", "event"]
    assert Organization.objects.get(pk="org-002").event_rules.count() == 0
    made.refresh_from_db()
    assert (made.matched, made.suppressed, made.window_count) == (1, 0, 1)
    assert publish(cast, payload={"env": {}}).keys() == EVENT.keys()


def test_a_repeated_call_acts_once(cast: Cast) -> None:
    rule()
    answers = [cast.oscar.call("POST", "/events/publish", EVENT, **{"Idempotency-Key": "one"}) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert Event.objects.filter(kind="event.published").count() == Task.objects.count() == 1


def test_an_event_that_is_not_stored_did_nothing(cast: Cast) -> None:
    rule()

    def fail(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("INSERT") and '"events"' in sql and "event.published" in str(rest[0]):
            raise OperationalError("the server closed the connection")
        return execute(sql, *rest)

    with connection.execute_wrapper(fail):
        assert cast.oscar.call("POST", "/events/publish", EVENT).status_code == 503
    assert not Task.objects.exists()
    assert EventRule.objects.get().matched == 0
    publish(cast)
    assert Task.objects.count() == 1


def test_a_rule_is_not_set_off_by_what_it_led_to(cast: Cast) -> None:
    first = rule(name="First", event_type="a", task_type="x")
    second = rule(name="Second", event_type="*", task_type="y")
    [made, other] = publish(cast, event_type="a")["tasks"]
    told = publish(cast, event_type="a", task_id=made)
    assert (told["suppressed"], len(told["tasks"])) == ([first.rule_id], 1)
    assert publish(cast, event_type="b", task_id=told["tasks"][0])["suppressed"] == [second.rule_id]
    assert publish(cast, event_type="b", task_id=other)["suppressed"] == [second.rule_id]
    second.refresh_from_db()
    assert (second.matched, second.suppressed) == (2, 2)


def test_a_rule_acts_only_so_often_in_a_minute(cast: Cast) -> None:
    made = rule(per_minute=2)
    told = [publish(cast) for _ in range(4)]
    assert [len(one.get("tasks", ())) for one in told] == [1, 1, 0, 0]
    assert told[3]["suppressed"] == [made.rule_id]
    EventRule.objects.update(window_started_at="2026-01-01T00:00:00Z")
    assert len(publish(cast)["tasks"]) == 1


def test_rules_are_written_with_a_trace_and_checked(cast: Cast) -> None:
    made = rule(action="alert", task_type="")
    event_rules.change(made, acting_user=None, severity="critical", name="Failed deployment")
    event_rules.delete(made, acting_user=None)
    rows = AuditEntry.objects.filter(action__startswith="event_rule.").order_by("id")
    assert [row.action for row in rows] == ["event_rule.create", "event_rule.update", "event_rule.delete"]
    assert rows[1].after == {"severity": "critical"}
    wrong: list[dict[str, Any]] = [
        {"task_type": ""}, {"conditions": {"a": {"b": 1}}}, {"conditions": [1]}, {"payload": {"event": 1}},
        {"priority": "P9"}, {"per_minute": 0}, {"name": "a\nb"}, {"action": "page"},
    ]  # fmt: skip
    for columns in wrong:
        with pytest.raises(InvalidInput):
            rule(**columns)
    assert not EventRule.objects.exists()
