"""Fleets that go dark: one alert for one orchestrator, one incident for a thousand, none for the controller's fault."""

from datetime import timedelta

import pytest

from monitoring.alerts import engine, handling
from monitoring.models import Alert, Silence
from monitoring.tests.alert_stage import Beat, announced, fleet, kinds, organization
from orchestrators import presence
from orchestrators.models import Instance
from orchestrators.presence import Ended
from orgs.models import Organization

pytestmark = [pytest.mark.once("postgres"), pytest.mark.django_db]
TTL = 125  # seconds: a heartbeat's and a little more
SOON = 35  # when the last of a fleet heard of at `beat.heard` is declared dark


@pytest.fixture
def beat(db: None) -> Beat:
    return Beat()


@pytest.fixture
def acme(beat: Beat) -> Organization:
    return organization("acme")


def test_one_dark_orchestrator_is_one_alert_that_resolves_when_it_is_back(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 10, now=beat.heard)
    beat.run(SOON + 60, beating=names[1:])
    assert kinds() == {"orchestrator_inactive/acme/acme-0": "firing"}
    assert announced() == ["orchestrator_inactive acme"]
    alert = Alert.objects.get()
    assert (alert.severity, alert.rule_key, alert.parent) == ("error", "orchestrator_inactive", None)
    assert alert.title == "No heartbeat: acme-0"
    beat.run(100, beating=names)
    assert kinds() == {"orchestrator_inactive/acme/acme-0": "resolved"}


def test_the_only_orchestrator_of_an_organization_is_announced_once(beat: Beat, acme: Organization) -> None:
    fleet(acme, 1, now=beat.heard)
    beat.run(SOON + 60)
    assert announced() == ["organization_empty acme"]
    assert Alert.objects.get(alert_type="orchestrator_inactive").parent == Alert.objects.get(
        alert_type="organization_empty"
    )


def test_a_goodbye_an_independent_and_a_deleted_one_make_no_alert(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 4, now=beat.heard)
    Instance.objects.filter(orchestrator_id=names[0]).update(is_connected=True, session_id="s0")
    presence.end([Ended(Instance.objects.get(orchestrator_id=names[0]).pk, "s0", "goodbye", is_goodbye=True)])
    Instance.objects.filter(orchestrator_id=names[1]).update(is_independent=True)
    Instance.objects.filter(orchestrator_id=names[2]).update(deleted_at=beat.now)
    beat.run(SOON + 60, beating=names[3:])
    assert kinds() == {}


@pytest.mark.parametrize("seconds", [0, 7])
def test_a_thousand_that_vanish_at_once_are_one_incident(beat: Beat, acme: Organization, seconds: int) -> None:
    names = fleet(acme, 1000, now=beat.heard + timedelta(seconds=seconds))
    beat.run(SOON + 90)
    assert announced() == ["fleet_offline acme"]
    incident = Alert.objects.get(alert_type="fleet_offline")
    assert (incident.severity, incident.organization_id, incident.orchestrator_id) == ("critical", "acme", "")
    singles = Alert.objects.filter(alert_type="orchestrator_inactive")
    assert singles.filter(parent=incident).count() == 1000 == singles.count()
    beat.run(150, beating=names)
    assert set(kinds().values()) == {"resolved"}
    assert announced() == ["fleet_offline acme"]


def test_several_organizations_that_vanish_are_one_incident_of_the_installation(beat: Beat) -> None:
    for index in range(12):
        fleet(organization(f"org-{index}"), 10 if index < 2 else 1, now=beat.heard)
    beat.run(SOON + 90)
    assert announced() == sorted(["fleet_offline", *(f"fleet_offline org-{index}" for index in range(12))])
    incident = Alert.objects.get(dedup_key="fleet_offline/-/-")
    assert incident.children.count() == 12
    assert Alert.objects.exclude(pk=incident.pk).filter(parent=None).count() == 0


@pytest.mark.parametrize("lead", [5, 15])
def test_organizations_that_vanish_one_after_the_other_are_one_incident(beat: Beat, lead: int) -> None:
    for index in range(3):
        fleet(organization(f"org-{index}"), 100, now=beat.heard + timedelta(seconds=lead * index))
    beat.run(SOON + 2 * lead + 90)
    assert announced() == ["fleet_offline", *(f"fleet_offline org-{index}" for index in range(3))]


def test_a_stray_orchestrator_elsewhere_makes_no_incident_of_the_installation(beat: Beat, acme: Organization) -> None:
    fleet(acme, 20, now=beat.heard)
    names = fleet(organization("other"), 10, now=beat.heard)
    beat.run(SOON + 90, beating=names[1:])
    assert announced() == ["fleet_offline acme", "orchestrator_inactive other"]


def test_a_few_of_many_are_alerts_of_their_own(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 100, now=beat.heard)
    beat.run(SOON + 90, beating=names[4:])
    assert announced() == ["orchestrator_inactive acme"] * 4


def test_what_outlives_an_incident_is_announced_then(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 20, now=beat.heard)
    beat.run(SOON + 100)
    assert announced() == ["fleet_offline acme"]
    beat.run(200, beating=names[2:])
    assert Alert.objects.get(alert_type="fleet_offline").status == "resolved"
    assert announced() == ["fleet_offline acme", "orchestrator_inactive acme", "orchestrator_inactive acme"]


def test_an_incident_ended_by_hand_takes_its_children_with_it(beat: Beat, acme: Organization) -> None:
    fleet(acme, 20, now=beat.heard)
    beat.run(SOON + 100)
    handling.resolve(Alert.objects.get(alert_type="fleet_offline"), acting_user=None)
    assert set(kinds().values()) == {"resolved"}
    beat.run(100)
    assert [line for line in announced() if line.startswith("orchestrator_inactive")] == []


def test_maintenance_of_an_organization_announces_nothing(beat: Beat, acme: Organization) -> None:
    fleet(acme, 20, now=beat.heard)
    Silence.objects.create(
        kind="maintenance", organization_id="acme", starts_at=beat.now, ends_at=beat.now.replace(year=beat.now.year + 1)
    )
    beat.run(SOON + 60)
    assert announced() == []
    assert Alert.objects.filter(is_silenced=True).count() == Alert.objects.count() >= 20


def test_the_controller_paused_for_five_minutes_raises_no_false_alert(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 50, now=beat.now)
    beat.run(60, beating=names)
    beat.pause(300)  # nothing is heard, swept or judged
    beat.tick()
    beat.run(300, beating=names)
    assert set(kinds()) == {"detector_late/-/-"}
    late = Alert.objects.get()
    assert 280 <= (late.value or 0) <= 310
    beat.run(400, beating=names)
    assert kinds() == {"detector_late/-/-": "resolved"}


def test_a_flapping_orchestrator_is_announced_once_in_ten_minutes(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 10, now=beat.now)
    for _ in range(3):
        beat.run(TTL + 20, beating=names[1:])
        beat.run(80, beating=names)
    assert announced() == ["orchestrator_inactive acme"]
    alert = Alert.objects.get()
    assert alert.reopened >= 1
    beat.run(TTL + 600, beating=names[1:])
    assert announced() == ["orchestrator_inactive acme"] * 2


def test_a_long_outage_with_late_comers_stays_one_incident(beat: Beat, acme: Organization) -> None:
    names = fleet(acme, 30, now=beat.heard)
    beat.run(SOON + 60, beating=names[20:])
    beat.run(TTL + 60)
    assert [line for line in announced() if not line.startswith("organization")] == ["fleet_offline acme"]


def test_two_engines_run_once(beat: Beat) -> None:
    moment = beat.now + timedelta(seconds=30)
    assert engine.run(holder="one", now=moment) is not None
    assert engine.run(holder="two", now=moment + timedelta(seconds=1)) is None
