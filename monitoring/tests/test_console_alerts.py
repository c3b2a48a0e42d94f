"""Alerts, rules and silences in the console: what the pages show, and what their buttons do."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from monitoring.alerts import probes, words
from monitoring.models import Alert, Rule, Silence
from orchestrators.models import Instance
from orgs.models import AuditEntry, Organization, User

pytestmark = [pytest.mark.once, pytest.mark.django_db]


@pytest.fixture
def browser() -> Client:
    found = Client()
    found.force_login(User.objects.create_superuser("root"))
    return found


def alert(key: str, **columns: Any) -> Alert:
    now = timezone.now()
    values = {"alert_type": "cpu", "severity": "error", "title": f"About {key}", "organization_id": "acme"}
    return Alert.objects.create(dedup_key=key, started_at=now, last_seen_at=now, **(values | columns))


def page(browser: Client, name: str, *args: Any, **query: str) -> str:
    answer = browser.get(reverse(f"admin:monitoring_{name}", args=args), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_the_list_shows_what_is_open_and_the_sidebar_counts_it(browser: Client) -> None:
    incident = alert("fleet", severity="critical")
    alert("part", parent=incident), alert("over", status="resolved")
    shown = page(browser, "alert_changelist")
    assert "About fleet" in shown
    assert "About part" not in shown
    assert "About over" not in shown
    assert "mo-badge-critical" in shown
    assert "About part" in page(browser, "alert_changelist", state="parts")
    assert "About over" in page(browser, "alert_changelist", state="resolved")
    [item] = [
        item
        for group in browser.get(reverse("admin:index")).context["sidebar_navigation"]
        for item in group["items"]
        if item["title"] == "Alerts"
    ]
    assert item["badge"] == "1"


def test_the_dashboard_counts_what_is_open_by_severity_and_leads_there(browser: Client) -> None:
    incident = alert("fleet", severity="critical")
    alert("disk", severity="critical", status="acknowledged"), alert("part", parent=incident), alert("mild")
    alert("over", severity="warning", status="resolved")
    for url in (reverse("admin:index"), reverse("console_open_alerts")):
        answer = browser.get(url)
        shown = [(entry["count"], entry["url"].partition("?")[2]) for entry in answer.context["open_alerts"]]
        assert shown == [(2, "severity__exact=critical"), (1, "severity__exact=error")]
        assert "No open alerts" not in answer.content.decode()
    listed = browser.get(answer.context["open_alerts"][0]["url"]).content.decode()
    assert "About fleet" in listed
    assert "About disk" in listed
    assert "About mild" not in listed
    Alert.objects.update(status="resolved")
    assert "No open alerts" in browser.get(reverse("admin:index")).content.decode()


def test_the_page_shows_parts_and_timeline_escaped(browser: Client) -> None:
    line = {"at": "2026-11-21T12:00:00Z", "what": "fired", "note": "<script>x</script>"}
    incident = alert("fleet", timeline=[line], title="<b>fleet</b>")
    alert("part", parent=incident, organization_id="", title="The part")
    shown = page(browser, "alert_change", incident.pk)
    assert "The part" in shown
    assert "&lt;script&gt;x" in shown
    assert "&lt;b&gt;fleet" in shown
    assert "2026-11-21 12:00:00 UTC" in shown


@pytest.mark.parametrize(
    ("verdict", "status", "kinds"),
    [
        ("acknowledge", "acknowledged", []),
        ("resolve", "resolved", []),
        ("snooze", "firing", ["snooze"]),
        ("silence", "firing", ["silence"]),
    ],
)
def test_the_buttons(browser: Client, verdict: str, status: str, kinds: list[str]) -> None:
    row = alert("one")
    answer = browser.post(
        reverse("admin:monitoring_alert_handle", args=[row.pk]), {"verdict": verdict, "minutes": "240"}, follow=True
    )
    assert answer.status_code == 200
    row.refresh_from_db()
    assert row.status == status
    silences = list(Silence.objects.all())
    assert [silence.kind for silence in silences] == kinds
    assert all(silence.ends_at > timezone.now() + timedelta(hours=3) for silence in silences)


def test_a_button_that_came_too_late_says_so(browser: Client) -> None:
    row = alert("one", status="resolved")
    url = reverse("admin:monitoring_alert_handle", args=[row.pk])
    answer = browser.post(url, {"verdict": "acknowledge"}, follow=True)
    assert "The alert is resolved." in answer.content.decode()
    assert browser.post(url, {"verdict": "explode"}).status_code == 400
    assert browser.get(url).status_code == 405


def test_the_rules_say_what_waits_and_what_was_changed(browser: Client) -> None:
    Rule.objects.filter(rule_key="cpu.error").update(is_changed=True, changed_by="ann")
    Rule.objects.filter(rule_key="cpu.warning").update(metric="of_an_older_release")
    shown = page(browser, "rule_changelist")
    assert "waits for a source of this metric" in shown
    assert "changed by ann" in shown
    assert "default" in shown


def test_a_silence_is_ended(browser: Client) -> None:
    now = timezone.now()
    row = Silence.objects.create(starts_at=now, ends_at=now + timedelta(hours=1), labels={"env": "prod"})
    assert "env=prod" in page(browser, "silence_changelist")
    browser.post(reverse("admin:monitoring_silence_end", args=[row.pk]))
    assert "env=prod" not in page(browser, "silence_changelist")
    assert "env=prod" in page(browser, "silence_changelist", state="over")


def test_every_metric_that_a_rule_may_name_has_words_and_its_numbers_are_short() -> None:
    assert set(probes.metrics()) <= set(words.METRICS)
    rule = Rule(metric="cpu_usage_percent", comparison=">=", threshold=90.0)
    assert words.finding(rule, 99.80239) == "CPU usage is 99.8 %; the alert fires at or above 90 %."
    assert [words.number(value) for value in (0.01234, 3.0, 1234567.89)] == ["0.012", "3", "1234567.9"]


def test_an_alert_that_nobody_was_told_of_says_where_to_add_a_channel(browser: Client) -> None:
    row = alert("one", is_announced=True, announced_at=timezone.now(), told_channels=0)
    for shown in (page(browser, "alert_changelist"), page(browser, "alert_change", row.pk)):
        assert "nobody: no channel" in shown
        assert "/admin/monitoring/channel/add/?organization=acme" in shown
    Alert.objects.update(told_channels=1)
    assert "nobody: no channel" not in page(browser, "alert_changelist")


def test_a_snoozed_alert_says_until_when_and_how_to_end_that(browser: Client) -> None:
    now = timezone.now()
    row = alert("one", escalate_at=now + timedelta(minutes=9))
    assert "Goes up a level" in page(browser, "alert_change", row.pk)
    silence = Silence.objects.create(
        kind="snooze", alert_id=row.alert_id, starts_at=now, ends_at=now + timedelta(hours=1), created_by="ann"
    )
    Silence.objects.create(rule_key="memory", starts_at=now, ends_at=now + timedelta(hours=9))
    shown = page(browser, "alert_panel", row.pk)
    assert f"Snoozed until {silence.ends_at:%Y-%m-%d %H:%M:%S} UTC" in shown
    assert "Goes up a level" not in shown
    assert reverse("admin:monitoring_silence_change", args=[silence.pk]) in shown
    assert "memory" not in shown
    assert "alert “About one”" in page(browser, "silence_changelist")
    assert "alert “About one”" in page(browser, "silence_change", silence.pk)
    end = reverse("admin:monitoring_silence_end", args=[silence.pk])
    assert end in shown
    answer = browser.post(end, {"alert": str(row.pk)})
    assert answer.headers["Location"] == reverse("admin:monitoring_alert_change", args=[row.pk])
    assert "Snoozed" not in page(browser, "alert_panel", row.pk)


def test_the_worst_stands_on_top_and_leads_to_its_orchestrator(browser: Client) -> None:
    home = Organization.objects.create(organization_id="acme", name="Acme")
    instance = Instance.objects.create(orchestrator_id="orch-1", organization=home)
    for severity in ("critical", "info", "error", "warning"):
        alert(severity, severity=severity, orchestrator_id="orch-1")
    shown = page(browser, "alert_changelist")
    places = [shown.index(f"About {word}") for word in ("critical", "error", "warning", "info")]
    assert places == sorted(places)
    assert reverse("admin:orchestrators_instance_change", args=[instance.pk]) in shown
    newest = page(browser, "alert_changelist", state="all")
    assert newest.index("About warning") < newest.index("About critical")


def test_chosen_alerts_are_acknowledged_each_with_its_audit_row(browser: Client) -> None:
    rows = [alert("one"), alert("two"), alert("over", status="resolved"), alert("left")]
    url = reverse("admin:monitoring_alert_changelist")
    wish = {"action": "acknowledge_chosen", "_selected_action": [row.pk for row in rows[:3]]}
    answer = browser.post(f"{url}?state=all", wish, follow=True)
    assert "2 acknowledged: they are escalated no further." in answer.content.decode()
    assert [Alert.objects.get(pk=row.pk).status for row in rows] == [
        "acknowledged", "acknowledged", "resolved", "firing",
    ]  # fmt: skip
    found = AuditEntry.objects.filter(action="alert.acknowledge").values_list("target_id", flat=True)
    assert sorted(found) == sorted(row.alert_id for row in rows[:2])
    taken, firing = (page(browser, "alert_changelist", state=state) for state in ("acknowledged", "firing"))
    assert ("About two" in taken, "About left" in taken) == (True, False)
    assert ("About two" in firing, "About left" in firing) == (False, True)


def silence_form(browser: Client, **wish: str) -> tuple[dict[str, Any], Silence | None]:
    """Send the form of silences; return its errors, and the newest silence."""
    answer = browser.post(
        reverse("admin:monitoring_silence_add"), {"kind": "maintenance", "minutes": "240", **wish}, follow=True
    )
    form = answer.context.get("adminform")
    return (form.form.errors if form else {}), Silence.objects.order_by("-pk").first()


def test_a_maintenance_window_starts_when_the_form_says_in_utc(browser: Client) -> None:
    assert "Start (UTC)" in page(browser, "silence_add")
    start = (timezone.now() + timedelta(days=1)).replace(second=0, microsecond=0)
    errors, row = silence_form(browser, organization_id="", severity="warning", starts_at=f"{start:%Y-%m-%dT%H:%M}")
    assert errors == {}
    assert row is not None
    assert (row.starts_at, row.ends_at) == (start, start + timedelta(hours=4))
    for shown in (page(browser, "silence_changelist"), page(browser, "silence_change", row.pk)):
        assert f"{start:%Y-%m-%d %H:%M}:00 UTC" in shown
        assert f"{start + timedelta(hours=4):%Y-%m-%d %H:%M}:00 UTC" in shown
    errors, _ = silence_form(browser, severity="warning", starts_at="2026-01-01T00:00")
    assert "would be over" in str(errors["starts_at"])
    errors, row = silence_form(browser, severity="info")
    assert row is not None
    assert abs(row.starts_at - timezone.now()) < timedelta(minutes=1)


def test_the_form_silences_everything_only_when_that_is_asked_for(browser: Client) -> None:
    errors, row = silence_form(browser)
    assert "Everything" in str(errors["everything"])
    errors, row = silence_form(browser, severity="info", rule_key="nonsense")
    assert "nonsense" in str(errors["rule_key"])
    errors, row = silence_form(browser, severity="info", everything="on")
    assert "names what is silenced" in str(errors["everything"])
    assert row is None
    for wish in ({"everything": "on"}, {"rule_key": "cpu"}, {"rule_key": "cpu.error"}):
        errors, row = silence_form(browser, **wish)
        assert errors == {}
        assert row is not None
        assert row.rule_key == wish.get("rule_key", "")
