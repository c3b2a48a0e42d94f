"""Alerts on samples that others send: how long a number holds, what no data means, and the number of now in words."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from monitoring.metrics import storage
from monitoring.models import Alert, Rule
from monitoring.tests.alert_stage import Beat, fleet, kinds, organization
from monitoring.tests.samples import sample
from orchestrators.models import Instance
from orgs.models import Event

pytestmark = [pytest.mark.once, pytest.mark.django_db]
CPU = "cpu/acme/acme-0"


@pytest.fixture
def beat(db: None) -> Beat:
    found = Beat()
    fleet(organization("acme"), 1, now=found.now)
    return found


def send(beat: Beat, cpu: float, *, runs: int = 1) -> None:
    """Let an orchestrator that lives send its usage every thirty seconds."""
    for _ in range(runs):
        storage.insert([sample(beat.now, organization="acme", orchestrator="acme-0", cpu_usage_percent=cpu)])
        beat.run(30, beating=["acme-0"])


def test_one_sample_holds_for_no_time_however_often_it_is_read(beat: Beat) -> None:
    send(beat, 99)
    beat.run(90, beating=["acme-0"])
    assert kinds() == {}
    send(beat, 99)  # minutes later: nobody knows what was between
    assert kinds() == {}
    send(beat, 99, runs=2)
    assert kinds() == {CPU: "firing"}


def test_a_lost_sample_does_not_begin_it_anew(beat: Beat) -> None:
    send(beat, 99)
    beat.run(30, beating=["acme-0"])
    send(beat, 99)
    assert kinds() == {CPU: "firing"}


def test_no_data_is_not_recovery(beat: Beat) -> None:
    send(beat, 95, runs=4)
    beat.run(150, beating=["acme-0"])
    alert = Alert.objects.get()
    assert alert.status == "firing"
    assert alert.detail.startswith("CPU usage is 95 %; the alert fires at or above 90 %. No data since 20")
    assert [line["what"] for line in alert.timeline].count("no data") == 1
    send(beat, 95, runs=4)  # it holds again, and for a minute not yet for long enough
    assert Alert.objects.get().detail == "CPU usage is 95 %; the alert fires at or above 90 %."
    assert not Event.objects.filter(kind="alert.resolved").exists()
    send(beat, 11.4, runs=4)
    assert kinds() == {CPU: "resolved"}
    assert Alert.objects.get().detail == "CPU usage is 11.4 %; the alert fires at or above 90 %."


def silent(beat: Beat) -> None:
    beat.run(200)


def deleted(beat: Beat) -> None:
    Instance.objects.all().delete()
    beat.run(100)


def switched_off(beat: Beat) -> None:
    Rule.objects.filter(alert_type="cpu").update(is_enabled=False)
    beat.run(100, beating=["acme-0"])


def for_a_day(beat: Beat) -> None:
    beat.run(80, beating=["acme-0"])
    Alert.objects.update(last_seen_at=beat.now - timedelta(hours=24))
    beat.run(10, beating=["acme-0"])


@pytest.mark.parametrize(
    ("happen", "end"),
    [
        (silent, "No more samples: the orchestrator is inactive."),
        (deleted, "No more samples: the orchestrator is gone."),
        (switched_off, ""),
        (for_a_day, "No more samples for 24 hours."),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_an_alert_without_data_ends_when_no_sample_will_come(
    beat: Beat, happen: Callable[[Beat], None], end: str
) -> None:
    send(beat, 95, runs=4)
    happen(beat)
    alert = Alert.objects.get(alert_type="cpu")
    assert alert.status == "resolved"
    assert alert.detail.endswith(end)
    assert alert.timeline[-1].get("note", "") == end


def test_the_detail_tells_the_number_of_now_beside_the_limit_of_its_severity(beat: Beat) -> None:
    send(beat, 95, runs=4)
    send(beat, 75, runs=3)
    alert = Alert.objects.get()
    assert (alert.severity, alert.value) == ("error", 75)
    assert alert.detail == "CPU usage is 75 %; the alert fires at or above 90 %."
    send(beat, 11.4)
    alert.refresh_from_db()
    assert (alert.status, alert.detail) == ("firing", "CPU usage is 11.4 %; the alert fires at or above 90 %.")
