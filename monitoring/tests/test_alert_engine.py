"""The engine: rules and for how long they hold, severity, escalation, silences, its place among the events."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from monitoring.alerts import channels, defaults, engine, handling, probes, rules, silences
from monitoring.alerts.probes import CONTROLLER, Moment, Reading, Source, Subject
from monitoring.models import Alert, EngineState, Rule, SystemMetric
from monitoring.tests.alert_stage import Beat, announced, fleet, kinds, organization
from moolai.errors import Conflict, InvalidInput
from orchestrators.models import Instance
from orgs import counters, events
from orgs.models import AuditEntry, Event, Organization

pytestmark = pytest.mark.django_db
CPU = "cpu/acme/acme-0"


@pytest.fixture
def beat(db: None) -> Beat:
    organization("acme")
    return Beat()


@pytest.fixture
def number() -> Iterator[dict[Subject, float]]:
    """Numbers that a test turns, of a metric named `dial`."""
    before, values = probes._sources, {CONTROLLER: 0.0}
    probes.install({**before, "dial": Source(lambda moment: dict(values))})
    yield values
    probes.install(before)


def rule(key: str, threshold: float, **columns: Any) -> Rule:
    columns = {"metric": "dial", "severity": "warning", "scope": "controller", "title": "The dial", **columns}
    return rules.create(key, threshold=threshold, acting_user=None, **columns)


def sample(beat: Beat, cpu: float, *, age: float = 0.0) -> None:
    at = beat.now - timedelta(seconds=age)
    SystemMetric.objects.create(
        metric_id=f"m{SystemMetric.objects.count()}", organization_id="acme", orchestrator_id="acme-0", timestamp=at,
        cpu_usage_percent=cpu,
    )  # fmt: skip


# --- rules ------------------------------------------------------------------------------------------------------------


def test_the_issues_defaults_are_there_and_a_change_is_kept() -> None:
    thresholds = {row.rule_key: (row.threshold, row.severity) for row in Rule.objects.all()}
    expected = {
        "health_check.warning": (2, "warning"),
        "health_check.critical": (3, "critical"),
        "response_time.error": (3000, "error"),
        "memory.error": (95, "error"),
        "authentication.error": (200, "error"),
        "redis_disconnected": (1, "critical"),
        "budget.warning": (80, "warning"),
    }
    assert {key: thresholds[key] for key in expected} == expected
    rules.change(Rule.objects.get(rule_key="cpu.warning"), threshold=50.0, acting_user=None)
    Rule.objects.filter(rule_key="cpu.error").update(threshold=91)  # as an older version had it
    Rule.objects.filter(rule_key="disk.error").delete()
    defaults.seed()
    defaults.seed()
    assert Rule.objects.count() == len(defaults.RULES)
    assert Rule.objects.get(rule_key="cpu.warning").threshold == 50
    assert Rule.objects.get(rule_key="cpu.error").threshold == 90


def test_a_rule_must_hold_for_as_long_as_it_says(beat: Beat) -> None:
    for seconds in range(0, 60, 10):
        sample(beat, 75, age=0)
        beat.run(10)
        assert kinds() == {}, seconds
    for _ in range(2):
        sample(beat, 75)
        beat.run(10)
    assert kinds() == {CPU: "firing"}
    alert = Alert.objects.get()
    assert (alert.severity, alert.value, alert.threshold, alert.rule_key) == ("warning", 75, 70, "cpu.warning")
    assert alert.detail == "CPU usage is 75 %; the alert fires at or above 70 %."


def test_an_interruption_begins_it_anew(beat: Beat, number: dict[Subject, float]) -> None:
    rule("dial", 5, for_seconds=60)
    for value in (9, 9, 9, 0, 9, 9, 9, 0):
        number[CONTROLLER] = value
        beat.run(10)
    assert kinds() == {}


def test_a_rule_may_ask_for_so_many_evaluations_in_a_row(beat: Beat, number: dict[Subject, float]) -> None:
    rule("dial", 5, consecutive=3)
    number[CONTROLLER] = 9
    beat.run(20)
    assert kinds() == {}
    beat.run(10)
    assert kinds() == {"dial/-/-": "firing"}


def test_two_thresholds_are_one_alert_whose_severity_rises(beat: Beat, number: dict[Subject, float]) -> None:
    rule("dial.warning", 5)
    rule("dial.error", 8, severity="error")
    number[CONTROLLER] = 6
    beat.run(10)
    assert Alert.objects.get().severity == "warning"
    number[CONTROLLER] = 9
    beat.run(10)
    number[CONTROLLER] = 6
    beat.run(10)
    alert = Alert.objects.get()
    assert (alert.severity, alert.rule_key, announced()) == ("error", "dial.error", ["dial"])
    assert list(Event.objects.filter(kind__startswith="alert.").order_by("id").values_list("kind", flat=True)) == [
        "alert.fired",
        "alert.escalated",
    ]


def test_an_organizations_own_rule_takes_the_place_of_the_one_for_everywhere(
    beat: Beat, number: dict[Subject, float]
) -> None:
    organization("other"), organization("third")
    rule("dial", 5, scope="organization")
    rules.create("dial", organization_id="acme", threshold=100, acting_user=None)
    rules.create("dial", organization_id="third", is_enabled=False, acting_user=None)
    number.update({("acme", ""): 50.0, ("other", ""): 50.0, ("third", ""): 50.0})
    beat.run(10)
    assert kinds() == {"dial/other/-": "firing"}


def test_a_rule_whose_metric_has_no_probe_waits(beat: Beat) -> None:
    assert probes.waits_for("no_such_metric") == "a source of this metric"
    assert probes.waits_for("cpu_usage_percent") == ""
    with pytest.raises(InvalidInput, match="fields"):
        rule("made-up", 1, metric="no_such_metric")


def test_a_sample_that_is_too_old_says_nothing(beat: Beat) -> None:
    sample(beat, 99, age=200)
    beat.run(120)
    assert kinds() == {}


def test_a_probe_that_breaks_changes_no_alert(beat: Beat, number: dict[Subject, float]) -> None:
    rule("dial", 5)
    number[CONTROLLER] = 9
    beat.run(10)

    def broken(moment: Moment) -> dict[Subject, Reading]:
        raise RuntimeError

    probes.install({**probes._sources, "dial": Source(broken)})
    beat.run(200)
    assert kinds() == {"dial/-/-": "firing"}


def test_a_rule_that_is_switched_off_resolves_its_alert(beat: Beat, number: dict[Subject, float]) -> None:
    row = rule("dial", 5)
    number[CONTROLLER] = 9
    beat.run(10)
    rules.change(row, is_enabled=False, acting_user=None)
    beat.run(80)
    assert kinds() == {"dial/-/-": "resolved"}


# --- people -----------------------------------------------------------------------------------------------------------


def test_what_nobody_takes_goes_up_level_by_level(beat: Beat, number: dict[Subject, float], settings: Any) -> None:
    settings.ALERT_ESCALATION_MINUTES = 1
    rule("dial", 5)
    number[CONTROLLER] = 9
    beat.run(10)
    beat.run(60)
    assert (Alert.objects.get().severity, Alert.objects.get().escalation_level) == ("error", 1)
    handling.acknowledge(Alert.objects.get(), acting_user=None)
    beat.run(180)
    alert = Alert.objects.get()
    assert (alert.severity, alert.status, alert.escalation_level) == ("error", "acknowledged", 1)
    with pytest.raises(Conflict):
        handling.acknowledge(alert, acting_user=None)
    number[CONTROLLER] = 0
    beat.run(80)
    assert Alert.objects.get().status == "resolved"
    assert [line["what"] for line in Alert.objects.get().timeline] == [
        "fired", "nobody was told", "escalated", "acknowledged", "resolved",
    ]  # fmt: skip


def test_nobody_is_told_where_no_channel_takes_it_and_that_is_said(
    beat: Beat, number: dict[Subject, float], settings: Any
) -> None:
    settings.ALERT_ESCALATION_MINUTES = 1
    rule("dial", 5, scope="organization")
    number["acme", ""] = 9
    beat.run(30)
    alert = Alert.objects.get()
    assert (alert.told_channels, alert.is_told, alert.told_at) == (0, False, None)
    assert alert.timeline[-1] | {"at": ""} == {"at": "", "what": "nobody was told", "note": "no channel takes it"}
    wish: dict[str, Any] = {"kind": "email", "name": "ops", "recipients": ["ops@example.com"], "min_severity": "info"}
    channels.create(Organization.objects.get(pk="acme"), acting_user=None, **wish)
    beat.run(70)  # it goes up a level, and now there is somebody
    alert.refresh_from_db()
    assert (alert.told_channels, alert.is_told, alert.told_at) == (1, True, alert.announced_at)
    assert [line["what"] for line in alert.timeline] == ["fired", "nobody was told", "escalated", "announced"]


def test_a_silenced_alert_is_shown_and_announced_when_the_silence_ends(
    beat: Beat, number: dict[Subject, float]
) -> None:
    rule("dial", 5)
    row = silences.create(kind="silence", rule_key="dial", ends_at=timezone.now() + timedelta(days=1), acting_user=None)
    number[CONTROLLER] = 9
    beat.run(60)
    assert (Alert.objects.get().is_silenced, announced()) == (True, [])
    row.ends_at = beat.now
    row.save()
    beat.run(10)
    assert (Alert.objects.get().is_silenced, announced()) == (False, ["dial"])


@pytest.mark.parametrize(
    ("matchers", "is_covered"),
    [
        ({"organization_id": "acme"}, True),
        ({"organization_id": "other"}, False),
        ({"orchestrator_id": "acme-0"}, True),
        ({"labels": {"env": "prod"}}, True),
        ({"labels": {"env": "test"}}, False),
        ({"rule_key": "cpu"}, True),
        ({"rule_key": "memory"}, False),
        ({"severity": "warning"}, True),
        ({"severity": "info"}, False),
        ({"organization_id": "acme", "rule_key": "memory"}, False),
    ],
)
def test_a_silence_covers_what_fits_everything_it_names(beat: Beat, matchers: Any, is_covered: bool) -> None:
    Instance.objects.create(orchestrator_id="acme-0", organization_id="acme", labels={"env": "prod"})
    silences.create(kind="silence", ends_at=timezone.now() + timedelta(days=1), acting_user=None, **matchers)
    rules.change(Rule.objects.get(rule_key="cpu.warning"), for_seconds=0, acting_user=None)
    sample(beat, 75)
    beat.run(10)
    assert Alert.objects.get().is_silenced is is_covered


def test_changes_leave_audit_rows() -> None:
    organization("acme")
    row = rules.create("cpu.warning", organization_id="acme", threshold=60, acting_user=None)
    rules.change(row, threshold=65, acting_user=None)
    rules.change(row, threshold=65, acting_user=None)
    rules.delete(row, acting_user=None)
    silence = silences.create(
        kind="maintenance", ends_at=timezone.now() + timedelta(hours=1), organization_id="acme", acting_user=None
    )
    silences.end(silence, acting_user=None)
    actions = list(AuditEntry.objects.order_by("pk").values_list("action", "organization_id"))
    assert actions == [
        ("alert_rule.create", "acme"), ("alert_rule.update", "acme"), ("alert_rule.delete", "acme"),
        ("silence.create", "acme"), ("silence.end", "acme"),
    ]  # fmt: skip


def test_deleting_a_default_puts_it_back() -> None:
    row = Rule.objects.get(rule_key="cpu.warning")
    with pytest.raises(Conflict):
        rules.delete(row, acting_user=None)
    rules.change(row, threshold=10, is_enabled=False, acting_user=None)
    rules.delete(row, acting_user=None)
    row.refresh_from_db()
    assert (row.threshold, row.is_enabled, row.is_changed) == (70, True, False)


# --- events -----------------------------------------------------------------------------------------------------------


def test_a_refused_configuration_is_an_alert_until_one_is_taken(beat: Beat) -> None:
    [name] = fleet(organization("other"), 1, now=beat.now, config_status="failed", config_error="no such model")
    events.record("config.failed", organization_id="other", orchestrator_id=name)
    beat.run(30, beating=[name])
    alert = Alert.objects.get()
    assert (alert.dedup_key, alert.detail) == (f"config_failed/other/{name}", "no such model")
    Instance.objects.update(config_status="applied")
    beat.run(80, beating=[name])
    assert kinds() == {alert.dedup_key: "resolved"}


@pytest.mark.once
def test_a_crashed_process_is_an_alert_for_ten_minutes(beat: Beat) -> None:
    events.record("process.crashed", data={"node": "host:17:abc"})
    beat.run(20)
    assert [(row.alert_type, row.detail) for row in Alert.objects.all()] == [
        ("process_crashed", "Ended without a goodbye: host:17:abc.")
    ]
    beat.run(700)
    assert kinds() == {"process_crashed/-/-": "resolved"}


def test_a_process_that_starts_again_and_again_is_an_alert(beat: Beat) -> None:
    for number in range(6):
        events.record("process.started", data={"node": f"host:{number}:abc"})
    beat.run(10)
    assert kinds() == {"process_restarting/-/-": "firing"}


def test_refused_credentials_are_counted_by_address(beat: Beat) -> None:
    for _ in range(101):
        counters.add("credential.refused", "192.0.2.7")
    for _ in range(101):
        counters.add("rate_limit.hit", "key:1")
    assert counters.flush(now=beat.now) == 2
    counters.add("credential.refused", "192.0.2.8")
    counters.flush(now=beat.now)
    beat.run(10)
    assert {row.alert_type: (row.severity, row.value) for row in Alert.objects.all()} == {
        "authentication": ("warning", 102),
        "token_flood": ("critical", 101),
        "rate_limit": ("warning", 101),
    }


def test_an_event_that_is_committed_late_is_not_lost(beat: Beat) -> None:
    first, second, third = (row.pk for row in [_event("a"), _event("config.failed"), _event("c")])
    Event.objects.filter(pk=second).update(id=third + 1000)  # not committed yet, while its neighbours are
    [name] = fleet(organization("other"), 1, now=beat.now, config_status="failed")
    Event.objects.filter(pk=third + 1000).delete()
    beat.run(20, beating=[name])
    assert kinds() == {}
    Event.objects.create(
        id=second, kind="config.failed", organization_id="other", orchestrator_id=name, created_at=timezone.now()
    )
    beat.run(20, beating=[name])
    assert kinds() == {f"config_failed/other/{name}": "firing"}
    assert first < second < third


def _event(kind: str) -> Event:
    return Event.objects.create(kind=kind, created_at=timezone.now())


def test_what_a_failed_run_read_is_read_again(beat: Beat, number: dict[Subject, float]) -> None:
    [name] = fleet(organization("other"), 1, now=beat.now, config_status="failed")
    events.record("config.failed", organization_id="other", orchestrator_id=name)
    before = EngineState.objects.get().place
    Rule.objects.filter(rule_key="config_failed").update(comparison="!")  # what cannot be judged breaks the run
    with pytest.raises(KeyError):
        engine.run(holder="x", now=beat.now + timedelta(seconds=90))
    assert EngineState.objects.get().place == before
    Rule.objects.filter(rule_key="config_failed").update(comparison=">=")
    engine.run(holder="x", now=beat.now + timedelta(seconds=200))
    assert f"config_failed/other/{name}" in kinds()
